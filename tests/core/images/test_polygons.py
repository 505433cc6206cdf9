"""Round trips mask -> polygons -> mask, filled by the definition: an odd number of crossings."""

from collections.abc import Callable

import numpy as np
import pytest

from faceparse.core.images.polygons import joined_polygons, polygons

Trace = Callable[[np.ndarray], list[np.ndarray]]
BOTH = pytest.mark.parametrize("trace", [polygons, joined_polygons])


def edges(ring: np.ndarray) -> list[tuple[list[int], list[int]]]:
    points = ring.tolist()
    return list(zip(points, points[1:] + points[:1], strict=True))


def fill(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Each pixel whose centre sees an odd number of edges to its left."""
    inside = np.zeros(shape, bool)
    centres = np.arange(shape[1]) + 0.5
    for ring in rings:
        for (x0, y0), (x1, y1) in edges(ring):
            for y in range(min(y0, y1), max(y0, y1)):
                inside[y] ^= centres > x0 + (y + 0.5 - y0) / (y1 - y0) * (x1 - x0)
    return inside


def area(ring: np.ndarray) -> float:
    """By the shoelace formula; positive where it runs clockwise on a screen."""
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in edges(ring)) / 2


@BOTH
def test_polygons_filled_again_are_the_mask(trace: Trace) -> None:
    random = np.random.default_rng(0)
    for _ in range(150):  # specks, holes in holes, corners that touch, borders
        mask = random.random(random.integers(1, 20, 2)) < random.random()
        rings = trace(mask)
        assert np.array_equal(fill(rings, mask.shape), mask)
        assert sum(map(area, rings)) == mask.sum()


def test_rings_turn_at_every_point() -> None:
    mask = np.random.default_rng(1).random((40, 30)) < 0.6
    for ring in polygons(mask):
        vertical = [x0 == x1 for (x0, _), (x1, _) in edges(ring)]
        assert all(one != other for one, other in zip(vertical, vertical[1:] + vertical[:1], strict=True))


def test_a_frame_is_an_outline_and_a_hole() -> None:
    mask = np.zeros((6, 7), bool)
    mask[1:5, 2:7] = True
    mask[2:4, 3:6] = False
    assert [ring.tolist() for ring in polygons(mask)] == [
        [[7, 1], [7, 5], [2, 5], [2, 1]],
        [[3, 4], [6, 4], [6, 2], [3, 2]],
    ]
    (ring,) = joined_polygons(mask)
    assert ring.tolist() == [[7, 1], [7, 5], [2, 5], [3, 4], [6, 4], [6, 2], [3, 2], [3, 4], [2, 5], [2, 1]]
    assert (area(ring), mask.sum()) == (14, 14)


def test_each_connected_part_is_one_joined_polygon() -> None:
    mask = np.zeros((5, 9), bool)
    mask[0:2, 0:2] = mask[2:5, 2:5] = True  # touch by a corner
    mask[3, 3] = False
    mask[0:5, 8] = True
    assert sorted(map(area, joined_polygons(mask))) == [5, 12]


@BOTH
def test_nothing_has_no_polygons(trace: Trace) -> None:
    assert trace(np.zeros((4, 5), bool)) == []
