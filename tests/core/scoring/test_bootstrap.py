"""Resamples against images that are really laid out anew."""

import numpy as np
import pytest

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring import bootstrap
from faceparse.core.scoring.bootstrap import difference, interval, intervals, resampled_scores
from faceparse.core.scoring.records import Counts, count_image
from faceparse.core.scoring.scores import compute_all_scores
from tests.core.scoring.images import stacked

LABELS = LabelSet(
    name="x", side="none", classes={"a": "#000000", "b": "#000001", "c": "#000002"}, merged={"m": ("b", "c")}
)


def images(count: int, seed: int, *, right: float = 0.7) -> Counts:
    """Random pictures of 12 x 9 pixels; class c is in the first alone."""
    random = np.random.default_rng(seed)
    truths = random.integers(0, 2, (count, 12, 9)).astype(np.uint8)
    truths[0, :4] = 2
    wrong = random.integers(0, 3, truths.shape).astype(np.uint8)
    predictions = np.where(random.random(truths.shape) < right, truths, wrong)
    return stacked([count_image(t, p, 3) for t, p in zip(truths, predictions, strict=True)])


def test_a_resample_is_scored_as_its_images_laid_side_by_side() -> None:
    counts = images(9, 1)
    found = resampled_scores(counts, LABELS, 20, seed=3)
    weights = np.random.default_rng(3).multinomial(9, np.full(9, 1 / 9), 20)
    assert (weights.sum(axis=1) == 9).all()
    for resample, weight in enumerate(weights):
        chosen = np.repeat(np.arange(9), weight)
        expected = compute_all_scores(counts.of(chosen).sum(), LABELS)
        for name, values in found.items():
            score = expected.get(name)
            assert np.isnan(values[resample]) if score is None else values[resample] == score, name
    assert np.isnan(found["f1/c"]).any()
    assert not np.isnan(found["f1/c"]).all()


def test_resamples_are_reproduced_and_depend_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = images(9, 1)
    first = resampled_scores(counts, LABELS, 50)
    other = resampled_scores(counts, LABELS, 50, seed=1)
    monkeypatch.setattr(bootstrap, "_CHUNK", 40)  # four at a time
    again = resampled_scores(counts, LABELS, 50)
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert not np.array_equal(first["mean_f1"], other["mean_f1"])


def test_no_resamples_give_no_intervals() -> None:
    found = resampled_scores(images(3, 1), LABELS, 0)
    assert {len(values) for values in found.values()} == {0}
    assert intervals(found) == {}


def test_an_interval_holds_the_middle_of_what_is_there() -> None:
    values = np.concatenate([np.arange(1001) / 1000, np.full(500, np.nan)])
    assert interval(np.random.default_rng(0).permutation(values)) == pytest.approx((0.025, 0.975))
    assert interval(np.full(9, np.nan)) is None


def test_intervals_hold_the_score_of_all_images_they_were_drawn_from() -> None:
    """95 of 100 on average; pixel accuracy, whose true value is known: 0.4 + 0.6 / 3."""
    hits = 0
    for seed in range(100):
        found = interval(resampled_scores(images(60, seed, right=0.4), LABELS, 200)["pixel_accuracy"])
        assert found is not None
        hits += found.low <= 0.4 + 0.6 / 3 <= found.high
    assert 88 <= hits <= 100


def test_the_p_value_counts_the_rarer_side_twice() -> None:
    values = np.array([-1.0] * 3 + [2.0] * 96)
    found = difference(1.5, values)
    assert found.p_value == pytest.approx(2 * (3 + 1) / (99 + 1))
    assert not found.significant
    assert found.interval == interval(values)
    assert difference(1.5, np.full(99, 2.0)).significant
    assert difference(1.5, np.full(99, 2.0)).p_value == pytest.approx(2 / 100)


def test_no_difference_is_certain_chance() -> None:
    assert difference(0.0, np.zeros(99)) == (0.0, (0, 0), 1.0)


def test_an_absent_class_has_no_difference() -> None:
    assert difference(None, np.zeros(9)) == (None, None, None)
    assert not difference(None, np.zeros(9)).significant
    assert difference(0.5, np.full(9, np.nan)) == (0.5, None, None)


def test_images_of_one_person_are_drawn_together() -> None:
    counts = images(9, 1)
    people = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3])
    found = resampled_scores(counts, LABELS, 20, together=people, seed=3)
    weights = np.random.default_rng(3).multinomial(4, np.full(4, 1 / 4), 20)
    for resample, weight in enumerate(weights):
        chosen = np.repeat(np.arange(9), weight[people])
        expected = compute_all_scores(counts.of(chosen).sum(), LABELS).mean_f1
        assert found["mean_f1"][resample] == expected


def test_images_of_different_people_are_drawn_as_before() -> None:
    counts = images(9, 1)
    alone = resampled_scores(counts, LABELS, 20, together=np.arange(9))
    assert np.array_equal(alone["mean_f1"], resampled_scores(counts, LABELS, 20)["mean_f1"])
