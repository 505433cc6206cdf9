"""Pictures of any size for networks that take only some sizes: small pictures on black, large ones by windows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from faceparse.core.images.crop import LARGEST, SMALLEST, STEP
from faceparse.core.images.warp import Size

PartMaps = Callable[[np.ndarray], np.ndarray]
"""Function from pictures (N x H x W x 3 uint8 RGB) to probabilities of `PARTS`, N x 4 x h x w float32.

The maps have 1/4 of the pictures' size or are finer. N x 5 where the classes have glasses, which come last."""


@dataclass(frozen=True)
class PictureSizes:
    """Sizes of the pictures that a network takes: multiples of `STEP` between two bounds, or one size only."""

    least: Size
    most: Size


ANY = PictureSizes((SMALLEST, SMALLEST), (LARGEST, LARGEST))


def fixed(size: Size) -> PictureSizes:
    """Sizes of a network that takes this size only."""
    return PictureSizes(size, size)


def by_windows(maps: PartMaps, sizes: PictureSizes, overlap: int) -> PartMaps:
    """Extend `maps` to pictures with any sides that are multiples of `STEP`, or of the one size.

    Args:
        overlap: least number of pixels that neighbouring windows share. Towards its border, a window counts less.
    """

    def of_any(pictures: np.ndarray) -> np.ndarray:
        height, width = pictures.shape[1:3]
        (h, rows), (w, columns) = (
            _cut(side, least, most, overlap)
            for side, least, most in zip((height, width), sizes.least, sizes.most, strict=True)
        )
        if (h, w) == (height, width):
            return maps(pictures)
        below, right = rows[-1] + h - height, columns[-1] + w - width
        pictures = np.pad(pictures, ((0, 0), (0, below), (0, right), (0, 0)))
        total, weight = np.zeros(0, np.float32), np.zeros(0, np.float32)
        for y in rows:
            for x in columns:
                part = maps(pictures[:, y : y + h, x : x + w])
                cell = round(h / part.shape[2])
                if not total.size:
                    shape = (pictures.shape[1] // cell, pictures.shape[2] // cell)
                    total, weight = np.zeros((*part.shape[:2], *shape), np.float32), np.zeros(shape, np.float32)
                    inner = np.minimum.outer(*(_ramp(side, overlap // cell) for side in part.shape[2:]))
                there = slice(y // cell, y // cell + part.shape[2]), slice(x // cell, x // cell + part.shape[3])
                total[:, :, *there] += inner * part
                weight[there] += inner
        found = total / np.maximum(weight, 1e-9)
        return found[:, :, : height // cell, : width // cell]

    return of_any


def _cut(length: int, least: int, most: int, overlap: int) -> tuple[int, list[int]]:
    """Side of the windows along a picture's side of `length`, and their starts: as few as possible, evenly spread."""
    count = max(1, -(-(length - overlap) // (most - overlap)))
    side = -(-(length + (count - 1) * overlap) // count)
    side = min(most, max(least, -(-side // STEP) * STEP))
    return side, [-(-(length - side) * k // (count - 1) // 4) * 4 for k in range(count)] if count > 1 else [0]


def _ramp(length: int, rise: int) -> np.ndarray:
    """Weights along a window's side: they rise to 1 over `rise`, and fall again."""
    places = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(1, np.minimum(places, places[::-1]) / max(rise, 1))
