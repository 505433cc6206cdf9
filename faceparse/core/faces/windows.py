"""Pictures of any size for networks that take some sizes alone: small ones on black, large ones by windows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from faceparse.core.images.crop import LARGEST, SMALLEST, STEP
from faceparse.core.images.warp import Size

PartMaps = Callable[[np.ndarray], np.ndarray]
"""N x H x W x 3 uint8 RGB pictures -> N x 4 x h x w float32 probabilities of `PARTS`, at 1/4 of the size or finer; or
N x 5, where the classes have glasses: these come last."""


@dataclass(frozen=True)
class PictureSizes:
    """Sizes of the pictures that a network takes: multiples of `STEP`, or one size alone."""

    least: Size
    most: Size


ANY = PictureSizes((SMALLEST, SMALLEST), (LARGEST, LARGEST))


def fixed(size: Size) -> PictureSizes:
    """Of a network that takes this size alone."""
    return PictureSizes(size, size)


def by_windows(maps: PartMaps, sizes: PictureSizes, overlap: int) -> PartMaps:
    """The same, of pictures of any sides that are multiples of `STEP`, or of the one size.

    Args:
        overlap: pixels that neighbouring windows share, or more. Towards its border, a window counts less.
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
    """A window's side along a picture's side of `length`, and where windows start: as few as can be, evenly spread."""
    count = max(1, -(-(length - overlap) // (most - overlap)))
    side = -(-(length + (count - 1) * overlap) // count)
    side = min(most, max(least, -(-side // STEP) * STEP))
    return side, [-(-(length - side) * k // (count - 1) // 4) * 4 for k in range(count)] if count > 1 else [0]


def _ramp(length: int, rise: int) -> np.ndarray:
    """Weights along a window's side: up to 1 over `rise`, and down again."""
    places = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(1, np.minimum(places, places[::-1]) / max(rise, 1))
