"""Scores and gaps of groups, against each group scored alone and resamples counted image by image."""

from collections.abc import Sequence

import numpy as np
import pytest

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.bootstrap import SEED, largest_difference
from faceparse.core.scoring.group_scores import LEAST, GroupedScores, flat_groups, score_groups
from faceparse.core.scoring.groups import by_words
from faceparse.core.scoring.records import Counts, count_image
from faceparse.core.scoring.scores import compute_all_scores
from faceparse.core.scoring.summary import Summary
from tests.core.scoring.images import stacked

LABELS = LabelSet(
    name="x",
    side="none",
    classes={"a": "#000000", "b": "#000001", "c": "#000002", "hat": "#000003"},
    merged={"both": ("b", "c")},
)
RESAMPLES = 60


def counted(words: Sequence[str | None], wrong: dict[str | None, float], hats: Sequence[str | None] = ()) -> Counts:
    """An image for each word: the share of wrong pixels is its group's, and groups in `hats` have the last class."""
    random = np.random.default_rng(1)
    found = []
    for word in words:
        truth = random.integers(0, 4 if word in hats else 3, (12, 12)).astype(np.uint8)
        noise = random.integers(0, 4, truth.shape).astype(np.uint8)
        found.append(count_image(truth, np.where(random.random(truth.shape) < wrong[word], noise, truth), 4))
    return stacked(found)


def grouped(counts: Counts, words: Sequence[str | None], resamples: int = RESAMPLES) -> GroupedScores:
    grouping = by_words("x", words, sorted({word for word in words if word}))
    return score_groups(counts, LABELS, [grouping], resamples)["x"]


WORDS = ["m", "f", "f", None, "m", "old"] * 11 + ["few"] * (LEAST - 1)
WRONG = {"m": 0.1, "f": 0.3, "old": 0.15, "few": 0.9, None: 0.9}
COUNTS = counted(WORDS, WRONG, hats=["m", "few"])


def slow_f1(counts: Counts, weights: dict[int, int], name: int) -> float | None:
    """2 I / (A + B) of one class over images that each count so many times."""
    both = truth = prediction = 0
    for image, times in weights.items():
        confusion = counts.confusion[image].tolist()
        both += times * confusion[name][name]
        truth += times * sum(confusion[name])
        prediction += times * sum(row[name] for row in confusion)
    return 2 * both / (truth + prediction) if truth else None


def slow_mean(counts: Counts, weights: dict[int, int], names: Sequence[int]) -> float:
    found = [slow_f1(counts, weights, name) for name in names]
    return float(np.mean([one for one in found if one is not None]))


def members(word: str) -> list[int]:
    return [image for image, one in enumerate(WORDS) if one == word]


def test_each_group_has_the_scores_of_its_images_alone() -> None:
    found = grouped(COUNTS, WORDS)
    assert [one.group.name for one in found.groups] == ["f", "few", "m", "old"]
    for one in found.groups:
        images = members(one.group.name)
        assert one.scores == compute_all_scores(COUNTS.of(np.array(images)).sum(), LABELS)
        assert one.scores.f1["b"] == pytest.approx(slow_f1(COUNTS, dict.fromkeys(images, 1), 1))


def test_a_group_of_few_images_has_no_interval_and_does_not_count_for_gaps() -> None:
    found = grouped(COUNTS, WORDS)
    few = found.groups[1]
    assert (len(few.group.images), few.intervals) == (LEAST - 1, {})
    assert few.scores.mean_f1 == min(one.scores.mean_f1 for one in found.groups)
    assert all("few" not in (gap.worst, gap.best) for gap in found.gaps.values())
    assert all(one.intervals for one in found.groups if one is not few)
    words = ["many"] * LEAST + ["few"] * (LEAST - 1)
    assert grouped(counted(words, {"many": 0.1, "few": 0.2}), words).gaps == {}


def test_gaps_and_intervals_are_those_of_resamples_drawn_image_by_image() -> None:
    found = grouped(COUNTS, WORDS)
    random, images = np.random.default_rng(SEED), len(WORDS)
    drawn = random.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    names = ["f", "m", "old"]
    resampled = np.array(
        [
            [slow_mean(COUNTS, {image: int(draw[image]) for image in members(name)}, [1, 2]) for draw in drawn]
            for name in names
        ]
    )
    values = np.array([slow_mean(COUNTS, dict.fromkeys(members(name), 1), [1, 2]) for name in names])
    gap = found.gaps["mean_f1"]
    assert (gap.worst, gap.best) == ("f", "m")
    assert gap.difference.value == pytest.approx(values.max() - values.min())
    ranges = [max(draw - values) - min(draw - values) for draw in resampled.T]
    reach = float(np.quantile(ranges, 0.95))
    assert gap.difference.interval == pytest.approx((np.ptp(values) - reach, np.ptp(values) + reach))
    larger = sum(one >= np.ptp(values) for one in ranges)
    assert gap.difference.p_value == pytest.approx((larger + 1) / (RESAMPLES + 1))
    assert gap.difference.significant
    old = found.groups[3]
    shares = [slow_f1(COUNTS, {image: int(draw[image]) for image in members("old")}, 2) for draw in drawn]
    assert old.intervals["f1/c"] == pytest.approx(tuple(np.quantile(np.array(shares, float), [0.025, 0.975])))


def test_a_gap_is_only_between_groups_that_have_the_class() -> None:
    found = grouped(COUNTS, WORDS)
    assert "f1/hat" not in found.gaps  # of the large groups, only one has hats
    assert found.left_out(LABELS) == ["hat"]
    words = ["m", "f", "old"] * 12
    two = grouped(counted(words, {"m": 0.1, "f": 0.5, "old": 0.3}, hats=["m", "old"]), words)
    assert (two.gaps["f1/hat"].worst, two.gaps["f1/hat"].best) == ("old", "m")
    assert grouped(counted(words, dict.fromkeys(words, 0.2)), words).left_out(LABELS) == []


def test_a_hard_class_that_a_group_lacks_makes_no_gap_of_means() -> None:
    """Two groups are equally good; one wears hats, which are never found."""
    truth = np.tile(np.array([1, 2, 0, 0], np.uint8), (4, 1))
    hat = truth.copy()
    hat[:, 3] = 3
    prediction = truth.copy()
    prediction[0, 0] = 2
    words = ["bare", "hat"] * LEAST
    counts = stacked([count_image(hat if word == "hat" else truth, prediction, 4) for word in words])
    found = grouped(counts, words)
    bare, hats = found.groups
    assert hats.scores.mean_f1 < bare.scores.mean_f1 - 0.2
    assert found.gaps["mean_f1"].difference.value == pytest.approx(0)
    assert found.gaps["mean_f1"].difference.p_value == 1
    assert found.left_out(LABELS) == ["hat"]


def test_chance_explains_the_gap_of_equal_groups_as_often_as_it_should() -> None:
    """Images of one kind put into four groups by lot, many times: p below 0.05 must be rare."""
    random = np.random.default_rng(7)
    confusion = np.zeros((120, 4, 4), int)
    confusion[:, 1, 1] = random.integers(40, 100, 120)
    confusion[:, 1, 2] = 100 - confusion[:, 1, 1]
    confusion[:, 2, 2] = 50
    counts = Counts(confusion, np.zeros((120, 4, 3, 2, 2), int))
    starred = 0
    for _ in range(60):
        words = [str(word) for word in random.permutation(np.repeat(list("wxyz"), 30))]
        starred += grouped(counts, words, 99).gaps["f1/b"].difference.significant
    assert starred <= 8  # 3 are expected; nine or more have a probability of 0.3 %


def test_without_resamples_there_is_the_gap_alone() -> None:
    gap = grouped(COUNTS, WORDS, 0).gaps["mean_f1"].difference
    assert gap == (grouped(COUNTS, WORDS).gaps["mean_f1"].difference.value, None, None)


def test_resamples_without_the_class_do_not_count() -> None:
    values, nothing = np.array([0.2, 0.5]), np.nan
    whole = np.array([[0.1, 0.3, 0.2], [0.5, 0.6, 0.4]])
    part = np.array([[0.1, nothing, 0.3, 0.9, 0.2], [0.5, 0.1, 0.6, nothing, 0.4]])
    assert largest_difference(values, part) == largest_difference(values, whole)
    assert largest_difference(values, np.full((2, 3), nothing)) == (pytest.approx(0.3), None, None)


def test_mlflow_gets_each_groups_mean_and_the_gap() -> None:
    found = grouped(COUNTS, WORDS)
    flat = flat_groups({"x": found})
    assert flat == {f"groups/x/{one.group.name}": one.scores.mean_f1 for one in found.groups} | {
        "gap/x": found.gaps["mean_f1"].difference.value
    }
    background = stacked([count_image(*[np.zeros((4, 4), np.uint8)] * 2, 4)] * 2)
    assert flat_groups({"x": grouped(background, ["m", "f"])}) == {}


def test_a_summary_scores_given_groups_and_groups_by_size() -> None:
    grouping = by_words("sex", WORDS, ["f", "m"])
    summary = Summary(COUNTS, LABELS, RESAMPLES, (grouping,))
    assert list(summary.groups) == ["sex", "face_side"]
    (side,) = summary.groups["face_side"].groups
    assert side.scores == summary.scores
    assert side.intervals == summary.intervals  # the same resamples
