"""A label map as outlines that are filled one after the other, for tools whose polygons have no holes."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np


class Outline(NamedTuple):
    """The outline of a connected part of a label map."""

    label: int
    owner: int
    points: np.ndarray
    """Pixels (x, y) of the part along its outline, K x 2 int32."""


class _Blob(NamedTuple):
    outline: Outline
    corner: tuple[int, int]
    filled: np.ndarray
    """The part with its holes, in the box at the corner: h x w bool."""


def nested_outlines(label: np.ndarray, owner: np.ndarray) -> Iterator[Outline]:
    """Yield outlines: filled one over the other, with the outline's own pixels, they give the same label map.

    Parts are connected by sides, not by corners. So a part lies either within the outline of another one or outside
    it, and the order of the filled areas, the largest first, draws inner parts over outer ones. Background is only
    drawn where a part lies around it.

    Args:
        label: H x W uint8 ids.
        owner: H x W, the number of the pixel's face; 0 for background.
    """
    painted = np.zeros(label.shape, bool)
    for blob in sorted(_blobs(label, owner), key=lambda blob: -int(blob.filled.sum())):
        x, y = blob.corner
        height, width = blob.filled.shape
        below = painted[y : y + height, x : x + width]
        if blob.outline.label or below[blob.filled].any():
            below |= blob.filled
            yield blob.outline


def _blobs(label: np.ndarray, owner: np.ndarray) -> Iterator[_Blob]:
    both = owner.astype(np.int32) << 8 | label
    for key in np.unique(both).tolist():
        count, numbers, stats, _ = cv2.connectedComponentsWithStats((both == key).view(np.uint8), connectivity=4)
        for number in range(1, count):
            x, y, width, height = stats[number, :4].tolist()
            part = (numbers[y : y + height, x : x + width] == number).view(np.uint8)
            (contour, *_), _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            filled = cv2.drawContours(np.zeros_like(part), [contour], 0, 1, thickness=-1).astype(bool)
            yield _Blob(Outline(key & 255, key >> 8, contour.reshape(-1, 2) + (x, y)), (x, y), filled)
