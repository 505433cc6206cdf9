"""Boundary counts against sets of pixels and all their distances."""

import math

import numpy as np
import pytest

from faceparse.core.labels.classes import IGNORE
from faceparse.core.scoring.boundary import TOLERANCES, boundary_counts

Place = tuple[int, ...]


def blobs(seed: int, classes: int = 4, shape: tuple[int, int] = (19, 26)) -> np.ndarray:
    """Every pixel has the class of the nearest of a few points."""
    random = np.random.default_rng(seed)
    points = random.random((7, 2)) * shape
    places = np.stack(np.indices(shape), axis=-1)
    nearest = np.linalg.norm(places[:, :, None] - points, axis=-1).argmin(axis=-1)
    return random.integers(0, classes, 7)[nearest].astype(np.uint8)


def outline(label: np.ndarray, ignored: set[Place], part: int) -> set[Place]:
    found = set()
    for y, x in np.ndindex(label.shape):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [p for p in around if 0 <= p[0] < label.shape[0] and 0 <= p[1] < label.shape[1] and p not in ignored]
        if (y, x) not in ignored and label[y, x] == part and any(label[p] != part for p in inside):
            found.add((y, x))
    return found


def slow_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[list[list[int]]]]:
    ignored = {place for place in np.ndindex(truth.shape) if truth[place] == IGNORE}
    counts = []
    for part in range(classes):
        sides = outline(truth, ignored, part), outline(prediction, ignored, part)
        counts.append(
            [
                [
                    [sum(any(math.dist(p, q) <= tolerance for q in others) for p in ours), len(ours)]
                    for ours, others in (sides, sides[::-1])
                ]
                for tolerance in TOLERANCES
            ]
        )
    return counts


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_all_distances(seed: int) -> None:
    truth, prediction = blobs(seed), blobs(seed + 100)
    prediction[:, :13] = np.roll(truth, seed, axis=0)[:, :13]  # partly near, partly far
    truth[np.random.default_rng(seed).random(truth.shape) < 0.05] = IGNORE
    found = boundary_counts(truth, prediction, 5)  # the last class is nowhere
    assert found.dtype == np.int64
    assert found.tolist() == slow_counts(truth, prediction, 5)
    matched = found[..., 0].sum(axis=(0, 2))
    assert 0 < matched[0] < matched[1] < matched[2] < found[:, 0, :, 1].sum()


def squares(*, shift: int) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[10:20, 10:20] = 1
    prediction[10:20, 10 + shift : 20 + shift] = 1
    return truth, prediction


@pytest.mark.parametrize(("shift", "found"), [(0, [36, 36, 36]), (1, [36, 36, 36]), (2, [20, 36, 36])])
def test_a_shifted_square_is_found_within_its_shift(shift: int, found: list[int]) -> None:
    """A side of 10 pixels: 36 on the outline; two apart, 16 of them have their like within one pixel, and 4 corners."""
    counts = boundary_counts(*squares(shift=shift), 2)[1]
    assert counts[:, 0, 1].tolist() == counts[:, 1, 1].tolist() == [36, 36, 36]
    assert counts[:, 0, 0].tolist() == counts[:, 1, 0].tolist() == found


def test_the_frame_is_no_boundary() -> None:
    truth = np.zeros((8, 8), np.uint8)
    truth[:, :3] = 1
    assert boundary_counts(np.ones((8, 8), np.uint8), np.ones((8, 8), np.uint8), 2).sum() == 0
    assert boundary_counts(truth, truth, 2)[1].tolist() == [[[8, 8], [8, 8]]] * 3


def test_ignored_pixels_make_no_boundary_in_truth_or_prediction() -> None:
    truth, prediction = squares(shift=0)
    truth[8:22, 8:22] = IGNORE  # the whole square, with what is around it
    assert boundary_counts(truth, prediction, 2).sum() == 0


def test_counts_of_images_add() -> None:
    truth, prediction = blobs(1), blobs(2)
    gap = np.full((19, 9), IGNORE, np.uint8)  # so wide that nothing is near across it
    wide = boundary_counts(np.hstack([truth, gap, prediction]), np.hstack([prediction, gap * 0, truth]), 4)
    assert wide.tolist() == (boundary_counts(truth, prediction, 4) + boundary_counts(prediction, truth, 4)).tolist()
