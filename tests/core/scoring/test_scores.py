"""Scores against sets of pixels."""

import numpy as np
import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.scoring.scores import Scores, compute_scores, f1_of, iou_of, resolve_metric, score_names

RANDOM = np.random.default_rng(0)
HELEN = get_label_set("helen")
LABEL_SETS = ["helen", "lapa", "ibugmask-14", "celebamask-hq", "fasseg"]

Pixels = set[tuple[int, ...]]


def pixels(label: np.ndarray, ids: set[int], counted: np.ndarray) -> Pixels:
    """The places of some classes, among those that count."""
    return {place for place in np.ndindex(label.shape) if counted[place] and int(label[place]) in ids}


def f1_by_sets(truth: Pixels, prediction: Pixels) -> float | None:
    return 2 * len(truth & prediction) / (len(truth) + len(prediction)) if truth else None


def iou_by_sets(truth: Pixels, prediction: Pixels) -> float | None:
    return len(truth & prediction) / len(truth | prediction) if truth else None


def random_pair(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A truth with ignored pixels, and a prediction that is right in about half of it."""
    truth = RANDOM.integers(0, classes, (23, 31)).astype(np.uint8)
    prediction = np.where(RANDOM.random(truth.shape) < 0.5, truth, RANDOM.integers(0, classes, truth.shape))
    truth[RANDOM.random(truth.shape) < 0.1] = 255
    return truth, prediction.astype(np.uint8)


def scored(truth: np.ndarray, prediction: np.ndarray, label_set: LabelSet) -> Scores:
    return compute_scores(confusion_counts(truth, prediction, len(label_set)), label_set)


def mean(values: list[float | None]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present)


@pytest.mark.parametrize("name", LABEL_SETS)
def test_scores_are_those_of_sets_of_pixels(name: str) -> None:
    label_set = get_label_set(name)
    truth, prediction = random_pair(len(label_set))
    counted = truth != 255
    scores = scored(truth, prediction, label_set)
    for i, part in enumerate(label_set.names):
        places = pixels(truth, {i}, counted), pixels(prediction, {i}, counted)
        assert scores.f1[part] == pytest.approx(f1_by_sets(*places))
        assert scores.iou[part] == pytest.approx(iou_by_sets(*places))
    assert scores.mean_f1 == pytest.approx(mean(list(scores.f1.values())[1:]))
    assert scores.mean_iou == pytest.approx(mean(list(scores.iou.values())[1:]))
    assert scores.pixel_accuracy == pytest.approx(float((truth == prediction)[counted].mean()))


@pytest.mark.parametrize("merged", list(HELEN.merged))
def test_merged_classes_are_one_class_before_counting(merged: str) -> None:
    truth, prediction = random_pair(11)
    ids = set(HELEN.ids(HELEN.merged[merged]))
    counted = truth != 255
    # Painted anew with one id for all of them, then scored like any class.
    expected = f1_by_sets(pixels(truth, ids, counted), pixels(prediction, ids, counted))
    assert scored(truth, prediction, HELEN).merged_f1[merged] == pytest.approx(expected)


def test_merging_is_no_mean_of_the_parts() -> None:
    truth, prediction = np.full((4, 4), 4, np.uint8), np.full((4, 4), 5, np.uint8)
    scores = scored(truth, prediction, HELEN)
    assert scores.f1["left_eye"] == 0
    assert scores.f1["right_eye"] is None
    assert scores.merged_f1["eyes"] == 1
    assert scores.merged_f1["overall"] == 1
    assert scores.merged_f1["mouth"] is None


def test_a_golden_matrix() -> None:
    two = LabelSet(
        name="x", side="none", classes={"a": "#000000", "b": "#000001", "c": "#000002"}, merged={"m": ("b", "c")}
    )
    scores = compute_scores(np.array([[50, 2, 3], [5, 20, 4], [1, 6, 9]]), two)
    assert scores.f1 == pytest.approx({"a": 100 / 111, "b": 40 / 57, "c": 18 / 32})
    assert scores.iou == pytest.approx({"a": 50 / 61, "b": 20 / 37, "c": 9 / 23})
    assert scores.merged_f1 == pytest.approx({"m": 2 * 39 / (45 + 44)})
    assert scores.mean_f1 == pytest.approx((40 / 57 + 18 / 32) / 2)
    assert scores.mean_iou == pytest.approx((20 / 37 + 9 / 23) / 2)
    assert scores.pixel_accuracy == pytest.approx(0.79)


def test_an_absent_class_has_no_score_and_no_part_in_the_means() -> None:
    truth, prediction = random_pair(11)
    truth[truth == 6] = 1
    with_it = scored(truth, prediction, HELEN)
    assert (prediction == 6).any()  # predicted all the same
    assert with_it.f1["nose"] is None
    assert with_it.iou["nose"] is None
    others = [value for name, value in with_it.f1.items() if name not in ("background", "nose")]
    assert with_it.mean_f1 == pytest.approx(mean(others))
    assert len([value for value in others if value is not None]) == 9


def test_a_class_that_was_missed_altogether_scores_zero() -> None:
    truth = np.array([[1, 1, 6, 6]], np.uint8)
    scores = scored(truth, np.ones_like(truth), HELEN)
    assert scores.f1["nose"] == 0
    assert scores.mean_f1 == pytest.approx((4 / 6 + 0) / 2)


def test_background_has_a_score_but_no_part_in_the_means() -> None:
    truth, prediction = np.zeros((2, 5), np.uint8), np.zeros((2, 5), np.uint8)
    truth[0], prediction[0] = 1, 2
    scores = scored(truth, prediction, HELEN)
    assert scores.f1["background"] == 1
    assert (scores.mean_f1, scores.mean_iou, scores.pixel_accuracy) == (0, 0, 0.5)


def test_nothing_counted_gives_no_scores_and_no_error() -> None:
    scores = compute_scores(np.zeros((11, 11), np.int64), HELEN)
    assert set(scores.f1.values()) == set(scores.iou.values()) == set(scores.merged_f1.values()) == {None}
    assert (scores.mean_f1, scores.mean_iou, scores.pixel_accuracy) == (0, 0, 0)
    assert set(scores.flat()) == {"f1_mean", "miou", "pixel_accuracy"}


def test_a_perfect_prediction_scores_one() -> None:
    truth, _ = random_pair(11)
    scores = scored(truth, np.where(truth == 255, 0, truth), HELEN)
    assert set(scores.flat().values()) == {1.0}


def test_f1_and_iou_agree_on_the_order() -> None:
    for _ in range(20):
        matrix = RANDOM.integers(0, 50, (4, 4))
        f1, iou = f1_of(matrix, [1, 2]), iou_of(matrix, [1, 2])
        assert f1 is not None
        assert iou == pytest.approx(f1 / (2 - f1))


def test_counts_of_a_whole_set_are_scored_in_one() -> None:
    """Not the mean of the photographs' scores: that is another number."""
    pairs = [random_pair(11) for _ in range(3)]
    counts = [confusion_counts(truth, prediction, 11) for truth, prediction in pairs]
    together = compute_scores(np.sum(counts, axis=0), HELEN)
    side_by_side = scored(np.hstack([t for t, _ in pairs]), np.hstack([p for _, p in pairs]), HELEN)
    assert together == side_by_side


# Names.


def test_every_score_can_be_got_by_its_name() -> None:
    scores = scored(*random_pair(11), HELEN)
    names = score_names(HELEN)
    assert len(names) == len(set(names)) == 3 + 4 + 2 * 11
    assert all(isinstance(scores.get(name), float) for name in names)
    assert scores.get("f1/overall") == scores.merged_f1["overall"]
    assert scores.get("f1/nose") == scores.f1["nose"]
    assert scores.get("iou/nose") == scores.iou["nose"]
    assert scores.get("mean_iou") == scores.mean_iou


def test_flat_names_are_those_of_the_charts() -> None:
    truth, prediction = random_pair(11)
    truth[truth == 10] = 0
    flat = scored(truth, prediction, HELEN).flat()
    parts = HELEN.names[:-1]
    assert set(flat) == {
        "f1_mean", "miou", "pixel_accuracy",
        *(f"f1/{name}" for name in parts), *(f"iou/{name}" for name in parts),
        *(f"f1_merged/{name}" for name in ("eyes", "brows", "mouth", "overall")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "label_set", "expected"),
    [
        ("auto", "helen", "f1/overall"),
        ("auto", "lapa", "mean_f1"),
        ("auto", "celebamask-hq", "mean_f1"),
        ("f1/eyes", "helen", "f1/eyes"),
        ("iou/hair", "lapa", "iou/hair"),
        ("pixel_accuracy", "fasseg", "pixel_accuracy"),
    ],
)
def test_best_metric_means_a_score_of_the_label_set(name: str, label_set: str, expected: str) -> None:
    assert resolve_metric(name, get_label_set(label_set)) == expected


def test_a_score_that_the_label_set_has_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_metric("f1/overal", HELEN)
    assert str(caught.value) == "train.best_metric = 'f1/overal': not a score of helen; did you mean 'f1/overall'?"
    for shown, meant in (
        ("val/f1_mean", "mean_f1"), ("miou", "mean_iou"), ("val/f1_merged/eyes", "f1/eyes"), ("val/f1/noze", "f1/nose")
    ):  # fmt: skip
        with pytest.raises(SettingsError) as caught:
            resolve_metric(shown, HELEN)
        assert str(caught.value) == f"train.best_metric = {shown!r}: not a score of helen; did you mean {meant!r}?"
    with pytest.raises(SettingsError, match=r"^train\.best_metric = 'f1/overall': not a score of lapa"):
        resolve_metric("f1/overall", get_label_set("lapa"))
