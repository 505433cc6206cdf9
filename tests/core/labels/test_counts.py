"""Confusion counts against a double loop."""

import numpy as np
import pytest

from faceparse.core.labels import counts as confusion
from faceparse.core.labels.counts import confusion_counts

RANDOM = np.random.default_rng(0)


def counts_by_loop(truth: np.ndarray, prediction: np.ndarray, classes: int) -> list[list[int]]:
    counts = [[0] * classes for _ in range(classes)]
    for true, predicted in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if true < classes:
            counts[true][predicted] += 1
    return counts


def random_pair(classes: int, shape: tuple[int, int], ignored: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    truth, prediction = (RANDOM.integers(0, classes, shape).astype(np.uint8) for _ in range(2))
    truth[RANDOM.random(shape) < ignored] = 255
    return truth, prediction


@pytest.mark.parametrize("classes", [2, 6, 11, 19, 255])
@pytest.mark.parametrize("shape", [(37, 53), (1, 40), (40, 1), (1, 1)])
def test_counts_are_those_of_a_loop(classes: int, shape: tuple[int, int]) -> None:
    truth, prediction = random_pair(classes, shape)
    counts = confusion_counts(truth, prediction, classes)
    assert counts.dtype == np.int64
    assert counts.tolist() == counts_by_loop(truth, prediction, classes)


def test_rows_are_the_truth_and_columns_the_prediction() -> None:
    truth, prediction = np.full((2, 3), 1, np.uint8), np.full((2, 3), 2, np.uint8)
    assert confusion_counts(truth, prediction, 3).tolist() == [[0, 0, 0], [0, 0, 6], [0, 0, 0]]


def test_ignored_pixels_count_nowhere() -> None:
    truth, prediction = random_pair(11, (20, 20), ignored=1.1)
    assert not confusion_counts(truth, prediction, 11).any()
    truth[0, 0] = 3
    assert confusion_counts(truth, prediction, 11).sum() == 1


def test_truth_that_is_no_class_is_not_counted_either() -> None:
    truth, prediction = np.array([[0, 11, 37, 254, 255, 10]], np.uint8), np.zeros((1, 6), np.uint8)
    counts = confusion_counts(truth, prediction, 11)
    assert counts[:, 0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("limit", [1, 53, 54, 200, 10**6])
def test_images_counted_in_parts_count_the_same(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    truth, prediction = random_pair(11, (37, 53))
    monkeypatch.setattr(confusion, "_EXACT_IN_FLOAT32", limit)
    assert confusion_counts(truth, prediction, 11).tolist() == counts_by_loop(truth, prediction, 11)


def test_more_pixels_than_a_float_can_count_are_counted() -> None:
    image = np.zeros((4100, 4200), np.uint8)  # 17 220 000, beyond 2 ** 24
    image[-1, -1] = 1
    counts = confusion_counts(image, image, 2)
    assert counts.tolist() == [[4100 * 4200 - 1, 0], [0, 1]]


def test_views_count_like_their_copies() -> None:
    truth, prediction = random_pair(11, (40, 60))
    one, other = truth[::-2, 3:50], prediction[::-2, 3:50]
    assert confusion_counts(one, other, 11).tolist() == counts_by_loop(one.copy(), other.copy(), 11)
