"""Pictures without faces, as backgrounds behind photographs in training."""

from pathlib import Path

import cv2
import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES, read_image
from faceparse.core.images.warp import Size
from faceparse.core.sampling.augmentation import Window
from faceparse.core.text.paths import files_below

LONGEST = 1024
"""Longer side in pixels of a picture that is kept in memory."""


class Backgrounds:
    """Pictures of a folder. Each loader process decodes a picture at its first use, and keeps it."""

    def __init__(self, folder: Path) -> None:
        """List the pictures of a folder.

        Raises:
            DatasetError: no such folder, or no pictures in it.
        """
        if not folder.is_dir():
            raise DatasetError(f"data.backgrounds = {folder}: no such folder")
        self._paths = sorted(path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise DatasetError(f"data.backgrounds = {folder}: no pictures in it ({', '.join(IMAGE_SUFFIXES)})")
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def window(self, window: Window, size: Size) -> np.ndarray:
        """Cut a piece out of a picture, 1/4 to all of its shorter side, scaled to `size`: H x W x 3 uint8.

        Raises:
            DatasetError: the picture cannot be read.
        """
        picture = self._picture(int(window.picture * len(self)))
        height, width = picture.shape[:2]
        side = max(8, round(min(height, width) * 0.25 ** (1 - window.side)))
        top, left = round(window.top * (height - side)), round(window.left * (width - side))
        piece = picture[top : top + side, left : left + side]
        shrinks = side > max(size)
        return cv2.resize(piece, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def _picture(self, number: int) -> np.ndarray:
        if number not in self._kept:
            picture = read_image(self._paths[number])
            height, width = picture.shape[:2]
            shrink = min(1.0, LONGEST / max(height, width))
            small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            self._kept[number] = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        return self._kept[number]
