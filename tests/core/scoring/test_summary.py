"""What is derived from the counts of images, against each image or group scored alone."""

import dataclasses

import numpy as np
import pytest

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.comparison import compare_summaries
from faceparse.core.scoring.records import Counts, count_image
from faceparse.core.scoring.scores import compute_all_scores, compute_scores
from faceparse.core.scoring.summary import Summary
from tests.core.scoring.images import stacked

LABELS = LabelSet(name="x", side="none", classes={"a": "#000000", "b": "#000001", "c": "#000002"})


def images(seed: int = 0, wrong: float = 0.2) -> Counts:
    """Five pictures, each worse than the one before; the third is all background."""
    random = np.random.default_rng(seed)
    counts = []
    for image in range(5):
        truth = random.integers(0, 1 if image == 2 else 3, (20, 20)).astype(np.uint8)
        noise = random.integers(0, 3, truth.shape).astype(np.uint8)
        counts.append(count_image(truth, np.where(random.random(truth.shape) < wrong * image, noise, truth), 3))
    return stacked(counts)


def test_images_are_scored_alone_and_the_worst_come_first() -> None:
    summary = Summary(images(), LABELS, 0)
    for image in range(5):
        expected = compute_all_scores(summary.counts.of(np.array([image])).sum(), LABELS)
        assert np.nan_to_num(summary.images["mean_f1"][image]) == expected.mean_f1
        assert summary.images["pixel_accuracy"][image] == expected.pixel_accuracy
    assert summary.worst(9) == [4, 3, 1, 0]  # the third has no score
    assert summary.worst(2) == [4, 3]
    assert summary.worst(0) == []


def test_counting_boundaries_does_not_change_the_other_scores() -> None:
    total = images().sum()
    without = compute_scores(total.confusion, LABELS)
    both = compute_all_scores(total, LABELS)
    assert dataclasses.replace(both, boundary_f1={}, mean_boundary_f1={}) == without


def test_boundary_f1_of_a_golden_count() -> None:
    boundary = np.zeros((3, 3, 2, 2), int)
    boundary[1, 0] = [[30, 40], [10, 20]]  # recall 3 / 4, precision 1 / 2
    boundary[2, 0] = [[0, 40], [0, 0]]  # nothing predicted
    boundary[0, 0] = [[0, 0], [0, 7]]  # no outline in the truth
    scores = compute_all_scores(Counts(np.eye(3, dtype=int), boundary), LABELS)
    assert scores.boundary_f1["boundary_f1_1px"] == {"a": None, "b": pytest.approx(0.6), "c": 0.0}
    assert scores.get("boundary_f1_1px/b") == pytest.approx(0.6)
    assert scores.get("mean_boundary_f1_1px") == scores.mean_boundary_f1["boundary_f1_1px"] == pytest.approx(0.3)
    assert scores.flat()["boundary_f1_1px_mean"] == pytest.approx(0.3)
    assert "boundary_f1_1px/a" not in scores.flat()


def test_differences_are_paired() -> None:
    """Each image of the one is a little worse: certain, though the images scatter by far more than that."""
    random = np.random.default_rng(0)
    right = random.integers(20, 100, 40)
    confusion = np.zeros((40, 3, 3), int)
    confusion[:, 1, 1], confusion[:, 1, 2], confusion[:, 2, 2] = right, 100 - right, 50
    other = confusion.copy()
    other[:, 1, 1] -= 2
    other[:, 1, 2] += 2
    boundary = np.zeros((40, 3, 3, 2, 2), int)
    first, second = (Summary(Counts(c, boundary), LABELS, 500) for c in (confusion, other))
    found = compare_summaries(first, second)["f1/b"]
    assert found.value == second.scores.get("f1/b") - first.scores.get("f1/b")  # type: ignore[operator]
    assert found.interval is not None
    assert found.interval.low <= found.value <= found.interval.high < 0
    assert found.significant
    alone = first.intervals["f1/b"]
    assert alone.high - alone.low > 5 * (found.interval.high - found.interval.low)
    assert compare_summaries(first, first)["f1/b"].p_value == 1
    assert compare_summaries(first, second)["boundary_f1_1px/b"] == (None, None, None)
    without = compare_summaries(Summary(first.counts, LABELS, 0), Summary(second.counts, LABELS, 0))["f1/b"]
    assert without == (found.value, None, None)


@pytest.mark.parametrize(("images", "told"), [(9, False), (10, True)])
def test_a_class_that_few_images_have_gets_no_p_value(images: int, told: bool) -> None:
    confusion = np.zeros((40, 3, 3), int)
    confusion[:, 1, 1], confusion[:images, 2, 2] = 50, 50
    other = confusion.copy()
    other[:, 1, 1], other[:, 1, 0] = 45, 5
    other[:images, 2, 2], other[:images, 2, 0] = 45, 5
    boundary = np.zeros((40, 3, 3, 2, 2), int)
    found = compare_summaries(*(Summary(Counts(c, boundary), LABELS, 100) for c in (confusion, other)))
    assert found["f1/b"].significant
    assert found["f1/c"].significant == told
    assert found["f1/c"].value == found["f1/b"].value
    assert (found["f1/c"].interval is not None) == told
