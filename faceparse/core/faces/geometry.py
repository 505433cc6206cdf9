"""Where the parts of a face lie in a model's training pictures. Faces are aligned to these places before parsing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from faceparse.core.images.warp import apply

PARTS = ("left_eye", "right_eye", "nose", "mouth")
"""Parts in image order: `left_eye` is the eye at the image's left."""

EYES = PARTS[:2]

POINTS = (*PARTS[:3], "left_mouth_corner", "right_mouth_corner")
"""The five points of alignment."""

CONSISTENT = 0.05
"""Standard deviation of a part's centre below which pictures count as aligned, as a share of the crop's side."""


@dataclass(frozen=True)
class FaceGeometry:
    """Mean and standard deviation of the parts' centres, and means of the five points, in shares of a square's side.

    The square has the crop's longer side and its middle. (0, 0) is the centre of its first pixel, (1, 1) that of its
    last.
    """

    centres: tuple[tuple[float, float], ...]
    """Mean centres of the parts, 4 (x, y), in the order of `PARTS`."""
    points: tuple[tuple[float, float], ...]
    """Mean places of the five points, 5 (x, y), in the order of `POINTS`."""
    spread: tuple[tuple[float, float], ...]
    """Standard deviations of the centres, 4 (x, y)."""
    areas: tuple[float, ...]
    """Mean shares of the square's pixels that the parts have, 4."""
    count: int
    """Number of measured pictures."""

    @property
    def consistent(self) -> bool:
        """Whether the training pictures are aligned, so that other faces can be aligned to them."""
        return max(max(pair) for pair in self.spread) < CONSISTENT

    def centres_in(self, size: tuple[int, int]) -> np.ndarray:
        """Centres in pixels of a crop of (height, width), 4 x 2 (x, y)."""
        return _scaled(self.centres, size)

    def points_in(self, size: tuple[int, int]) -> np.ndarray:
        """Points in pixels of a crop of (height, width), 5 x 2 (x, y)."""
        return _scaled(self.points, size)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, as checkpoints and exported files keep them."""
        plain = {name: [list(pair) for pair in getattr(self, name)] for name in ("centres", "points", "spread")}
        return plain | {"areas": list(self.areas), "count": self.count}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a geometry from the result of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: the data is something else.
        """
        lengths = {"centres": len(PARTS), "points": len(POINTS), "spread": len(PARTS)}
        arrays = {name: np.array(data[name], np.float64) for name in lengths}
        for name, length in lengths.items():
            if arrays[name].shape != (length, 2) or not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not {length} points")
        areas = tuple(float(area) for area in data["areas"])
        if len(areas) != len(PARTS) or not all(0 < area < 1 for area in areas):
            raise ValueError(f"areas is not {len(PARTS)} shares")
        return cls(**{name: _pairs(array) for name, array in arrays.items()}, areas=areas, count=int(data["count"]))


def if_consistent(geometry: FaceGeometry | None) -> FaceGeometry | None:
    """The geometry, or None where the training pictures are not aligned."""
    return geometry if geometry is not None and geometry.consistent else None


def read_geometry(data: Mapping[str, Any] | None) -> FaceGeometry | None:
    """Read the geometry from a model's file. None for old files, which have none.

    Raises:
        ValueError, TypeError: the data is something else.
    """
    try:
        return None if data is None else FaceGeometry.from_dict(data)
    except KeyError as error:
        raise ValueError(f"geometry lacks {error}") from None


def summarise(
    centres: Sequence[np.ndarray], points: Sequence[np.ndarray], areas: Sequence[np.ndarray]
) -> FaceGeometry | None:
    """Geometry of N pictures; None for fewer than two.

    Each picture has 4 x 2 centres, 5 x 2 points and 4 areas, in shares.
    """
    if len(centres) < 2:
        return None
    stacked = np.stack(centres)
    return FaceGeometry(
        centres=_pairs(stacked.mean(axis=0)),
        points=_pairs(np.mean(points, axis=0)),
        spread=_pairs(stacked.std(axis=0)),
        areas=tuple(round(float(area), 6) for area in np.mean(areas, axis=0)),
        count=len(stacked),
    )


def _scaled(shares: Sequence[tuple[float, float]], size: tuple[int, int]) -> np.ndarray:
    return apply(square_to_crop(size), np.array(shares))


def square_to_crop(size: tuple[int, int]) -> np.ndarray:
    """Matrix from shares of the square's side to pixels of a crop of (height, width), 2 x 3."""
    side = max(size)
    return np.array([[side - 1.0, 0, (size[1] - side) / 2], [0, side - 1.0, (size[0] - side) / 2]])


def _pairs(array: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(x), 5), round(float(y), 5)) for x, y in array)
