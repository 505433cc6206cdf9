"""Make labels visible."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np

from faceparse.core.labels.classes import IGNORE


def colour_label(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """H x W uint8 ids -> H x W x 3 uint8 RGB; ignored pixels are mid-grey."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    table[IGNORE] = 128
    return cv2.LUT(cv2.merge([label] * 3), table[None])


def overlay(image: np.ndarray, label: np.ndarray, palette: np.ndarray, *, opacity: float = 0.55) -> np.ndarray:
    """H x W x 3 uint8 RGB: the photograph with its classes painted over it. Background (id 0) stays as it is."""
    painted = cv2.addWeighted(colour_label(label, palette), opacity, image, 1 - opacity, 0)
    return cv2.copyTo(image, (label == 0).view(np.uint8), painted)


def cut_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """H x W x 4 uint8 RGBA: the photograph where the mask (H x W uint8) is 255, transparent where it is 0.

    The photograph is RGB, or RGBA, whose transparency stays. Transparent pixels are black, so that the file holds
    nothing of the parts that were cut away.
    """
    alpha = with_transparency(mask, image)
    return cv2.merge([*cv2.split(cv2.copyTo(image[..., :3], alpha)), alpha])


def with_transparency(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A mask (H x W uint8), less opaque where the photograph (RGB, or RGBA) is transparent itself."""
    return mask if image.shape[2] == 3 else cv2.multiply(mask, np.ascontiguousarray(image[..., 3]), scale=1 / 255)


def class_mask(label: np.ndarray, ids: Collection[int]) -> np.ndarray:
    """H x W uint8: 255 where the class is one of `ids`, else 0."""
    table = np.zeros(256, np.uint8)
    table[list(ids)] = 255
    return cv2.LUT(label, table)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], *, height: int = 256, gap: int = 4) -> np.ndarray:
    """Pictures (H x W x 3 uint8 RGB, any sizes) in rows of one height, on white."""
    lines = []
    for row in rows:
        cells = [
            cv2.resize(p, (max(1, round(p.shape[1] * height / p.shape[0])), height), interpolation=cv2.INTER_AREA)
            for p in row
        ]
        lines.append(_join(cells, gap, axis=1))
    width = max(line.shape[1] for line in lines)
    padded = [
        cv2.copyMakeBorder(line, 0, 0, 0, width - line.shape[1], cv2.BORDER_CONSTANT, value=(255,) * 3)
        for line in lines
    ]
    return _join(padded, gap, axis=0)


def _join(parts: Sequence[np.ndarray], gap: int, *, axis: int) -> np.ndarray:
    shape = list(parts[0].shape)
    shape[axis] = gap
    space = np.full(shape, 255, np.uint8)
    spaced = [piece for part in parts for piece in (part, space)][:-1]
    return np.concatenate(spaced, axis=axis)
