"""Filled as pycocotools fills, and as a slow count of windings around pixel centres."""

from itertools import pairwise

import numpy as np
import pycocotools.mask
import pytest

from faceparse.core.annotations import polygon_shape
from faceparse.core.annotations.polygon_shape import PolygonShape

RANDOM = np.random.default_rng(0)


def filled(size: tuple[int, int], *rings: object) -> np.ndarray:
    part = PolygonShape(tuple(np.array(ring, float) for ring in rings)).part(size)
    mask = np.zeros(size, bool)
    mask[part.rows, part.columns] = part.inside
    return mask


def by_pycocotools(size: tuple[int, int], *rings: np.ndarray) -> np.ndarray:
    runs = pycocotools.mask.frPyObjects([ring.ravel().tolist() for ring in rings], *size)
    return pycocotools.mask.decode(runs).any(axis=2)


@pytest.mark.parametrize("steps", [1, 2, 1000], ids=["corners", "halves", "anywhere"])
def test_polygons_are_filled_as_pycocotools_fills_them(steps: int) -> None:
    for _ in range(200):
        size = (int(RANDOM.integers(8, 60)), int(RANDOM.integers(8, 60)))
        ring = RANDOM.uniform(-0.02, 1.02, (RANDOM.integers(3, 12), 2)) * size[::-1]
        ring = np.round(ring * steps) / steps
        expected = by_pycocotools(size, ring)
        if expected.any():
            assert np.array_equal(filled(size, ring), expected)


def test_rings_of_one_shape_are_joined() -> None:
    one, other = np.array([[0, 0], [6, 0], [6, 6], [0, 6.0]]), np.array([[3, 3], [9, 3], [9, 9], [3, 9.0]])
    assert np.array_equal(filled((12, 12), one, other), by_pycocotools((12, 12), one, other))
    assert filled((12, 12), one, other).sum() == 36 + 36 - 9


def test_a_pixel_is_inside_if_its_centre_is() -> None:
    ring = [[1.2, 0.9], [14.1, 3.3], [9.7, 12.4], [2.6, 8.1]]
    closed = np.array([*ring, ring[0]])
    slow = np.zeros((15, 16), bool)
    for y, x in np.ndindex(slow.shape):
        for (x1, y1), (x2, y2) in pairwise(closed):
            if (x1 > x + 0.5) != (x2 > x + 0.5) and y + 0.5 > y1 + (x + 0.5 - x1) / (x2 - x1) * (y2 - y1):
                slow[y, x] ^= True
    assert np.count_nonzero(filled((15, 16), ring) != slow) <= 2  # the outline is rounded to fifths of a pixel
    assert slow.sum() > 80


def test_the_outline_is_walked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = RANDOM.uniform(0, 50, (40, 2))
    whole = filled((50, 50), ring)
    monkeypatch.setattr(polygon_shape, "_STEPS", 100)
    assert np.array_equal(filled((50, 50), ring), whole)


def test_pixels_that_are_surrounded_twice_are_outside_and_counted() -> None:
    star = [[10 + 9 * np.sin(2.4 * i * np.pi / 3), 10 - 9 * np.cos(2.4 * i * np.pi / 3)] for i in range(5)]
    part = PolygonShape((np.array(star),)).part((20, 20))
    assert not part.inside[10 - part.rows.start, 10 - part.columns.start]
    assert 20 < part.doubled < 60
    eight = PolygonShape((np.array([[0, 0], [10, 10], [10, 0], [0, 10.0]]),)).part((10, 10))
    assert eight.doubled == 0


@pytest.mark.parametrize(
    ("ring", "expected"),
    [
        ([[1, 1], [5, 5]], "2 points are no polygon; draw it again"),
        ([[30, 30], [40, 30], [40, 40]], "from (30, 30) to (40, 40), outside the picture of 20 x 20"),
        ([[-3, 0], [10, 0], [10, 10]], "from (-3, 0) to (10, 10), outside the picture of 20 x 20"),
        ([[20, 20], [21, 20], [21, 21]], "covers no pixel of the picture"),
        ([[1, 1], [1.1, 1], [1.1, 1.1]], "covers no pixel of the picture"),
        ([[0, 0], [20, 20]] * 2000, "its outline is longer than any outline of pixels; draw it again"),
    ],
)
def test_what_is_no_polygon_of_the_picture_is_refused(ring: list[list[float]], expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        filled((20, 20), ring)
    assert str(caught.value) == expected


def test_what_reaches_a_little_outside_is_cut_off() -> None:
    assert filled((20, 20), [[-1, -1], [21, -1], [21, 21], [-1, 21]]).all()
