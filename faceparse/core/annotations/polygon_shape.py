"""Polygons of COCO, CVAT and Label Studio, whose points are pixel corners: filled as pycocotools fills them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from faceparse.core.annotations.regions import Part, clip
from faceparse.core.images.warp import Size

GRID = 5
"""Steps of a pixel: pycocotools rounds points to fifths, and walks along the outline in such steps."""
LONGEST = 1000
"""Longest outline, in times the picture's height and width together. A file could otherwise ask for hours of work."""
_STEPS = 2**20
"""Steps of the outline that are looked at together, to bound the memory."""


@dataclass(frozen=True)
class PolygonShape:
    """Rings of points (x, y), K x 2 each. A pixel is in a ring if an odd number of its windings are around it.

    Several rings are one shape together, and do not cut holes into each other.
    """

    rings: tuple[np.ndarray, ...]

    def part(self, size: Size) -> Part:
        """Return the pixels whose centres are inside; see `Shape`."""
        if not self.rings:
            raise ValueError("has no points")
        for ring in self.rings:
            if len(ring) < 3:
                raise ValueError(f"{len(ring)} points are no polygon; draw it again")
        rows, columns = clip(_ends(self.rings, np.min), _ends(self.rings, np.max), size)
        inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
        doubled = 0
        for ring in self.rings:
            odd, windings = _fill(ring, rows, columns, LONGEST * sum(size))
            inside |= odd
            doubled += int(np.count_nonzero(np.abs(windings) == 2))
        if not inside.any():
            raise ValueError("covers no pixel of the picture")
        return Part(rows, columns, inside, doubled)


def _ends(rings: tuple[np.ndarray, ...], end: Callable[..., np.ndarray]) -> tuple[float, float]:
    x, y = end([end(ring, axis=0) for ring in rings], axis=0)
    return float(x), float(y)


def _fill(ring: np.ndarray, rows: slice, columns: slice, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Whether the windings around each pixel of a window are odd, h x w bool, and their number, h x w int32.

    Each column's centre line crosses the outline a few times; between these crossings the number stays.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    windings = np.zeros((height + 1, width), np.int32)
    for x, y, direction in _crossings(ring, longest):
        column = x - columns.start
        here = (column >= 0) & (column < width)
        np.add.at(windings, (np.clip(y[here] - rows.start, 0, height), column[here]), direction[here])
    found = windings.cumsum(axis=0)[:-1]
    return (found & 1).astype(bool), found


def _crossings(ring: np.ndarray, longest: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield where an outline crosses the centre lines of columns: column, first row below, and 1 or -1 (its direction).

    The outline is walked in steps of a fifth of a pixel, as pycocotools does, so that both agree to the pixel.
    """
    points = np.trunc(GRID * ring + 0.5).astype(np.int64)
    starts, ends = points, np.roll(points, -1, axis=0)
    steps = np.abs(ends - starts).max(axis=1) + 1
    if steps.sum() > GRID * longest + GRID * len(ring):
        raise ValueError("its outline is longer than any outline of pixels; draw it again")
    for edges in np.split(np.arange(len(steps)), np.flatnonzero(np.diff(steps.cumsum() // _STEPS)) + 1):
        u, v, edge = _walk(starts[edges], ends[edges])
        at = np.flatnonzero((np.diff(u) != 0) & (np.diff(edge) == 0))
        left, upper = np.minimum(u[at], u[at + 1]), np.minimum(v[at], v[at + 1])
        middle = left % GRID == GRID // 2
        y = np.ceil((upper[middle] + 0.5) / GRID - 0.5).astype(np.int64)
        yield (left[middle] - GRID // 2) // GRID, y, np.sign(u[at + 1] - u[at])[middle]


def _walk(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All steps along edges: x, y, and the number of the edge.

    Each edge is walked along its longer side, in the direction in which that side grows. So two shapes that share an
    edge round its points alike.
    """
    across = np.abs(ends - starts)
    flat = across[:, 0] >= across[:, 1]
    long = np.where(flat, 0, 1)
    each = np.arange(len(starts))
    flipped = starts[each, long] > ends[each, long]
    low, high = np.where(flipped[:, None], ends, starts), np.where(flipped[:, None], starts, ends)
    count = across.max(axis=1)
    slope = (high - low)[each, 1 - long] / np.maximum(count, 1)
    edge = np.repeat(each, count + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(count + 1) - (count + 1), count + 1)
    step = np.where(flipped[edge], count[edge] - step, step)
    along = low[each, long][edge] + step
    beside = np.trunc(low[each, 1 - long][edge] + slope[edge] * step + 0.5).astype(np.int64)
    return np.where(flat[edge], along, beside), np.where(flat[edge], beside, along), edge
