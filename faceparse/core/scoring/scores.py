"""Scores as pure functions of counts: of one set of counts, or of a batch (leading axes) at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.scoring.boundary import TOLERANCES
from faceparse.core.scoring.records import Counts

Score = float | None
"""A fraction of 1. None for a class that the truth lacks: 0 / 0 is neither good nor bad."""

ScoreArrays = dict[str, np.ndarray]
"""Scores of a batch of counts by their names in `Scores.get`; float64, nan where a class is absent."""

AT = {tolerance: f"boundary_f1_{tolerance}px" for tolerance in TOLERANCES}
"""Tolerance -> name of its boundary F1."""


def percent(score: Score) -> str:
    """Score in percent for tables, without the percent sign."""
    return "absent" if score is None else f"{100 * score:.2f}"


@dataclass(frozen=True)
class Scores:
    """Scores of one network on one set of images. Means leave out background and absent classes."""

    f1: dict[str, Score]
    """Class -> F1."""
    iou: dict[str, Score]
    """Class -> intersection over union."""
    merged_f1: dict[str, Score]
    """Merged class, such as `mouth`, -> F1."""
    mean_f1: float
    """Mean of `f1`."""
    mean_iou: float
    """Mean of `iou`."""
    pixel_accuracy: float
    """Share of the pixels with their true class, background included."""
    boundary_f1: dict[str, dict[str, Score]] = field(default_factory=dict)
    """Name such as `boundary_f1_1px` -> class -> score; empty where boundaries were not counted."""
    mean_boundary_f1: dict[str, float] = field(default_factory=dict)
    """Name such as `boundary_f1_1px` -> mean over classes."""

    def get(self, name: str) -> Score:
        """Score by its name.

        Names: `mean_f1`, `mean_iou`, `pixel_accuracy`, `f1/<class or merged name>`, `iou/<class>`,
        `mean_boundary_f1_1px`, `boundary_f1_1px/<class>`, ...
        """
        kind, _, of = name.partition("/")
        if kind in self.boundary_f1:
            return self.boundary_f1[kind][of]
        if (mean := kind.removeprefix("mean_")) in self.mean_boundary_f1:
            return self.mean_boundary_f1[mean]
        if kind == "f1":
            return (self.f1 | self.merged_f1)[of]
        return self.iou[of] if kind == "iou" else getattr(self, name)

    def flat(self) -> dict[str, float]:
        """Scores by their names in MLflow, without absent classes."""
        named = {
            "f1_mean": self.mean_f1,
            "miou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            **{f"f1/{name}": value for name, value in self.f1.items()},
            **{f"f1_merged/{name}": value for name, value in self.merged_f1.items()},
            **{f"iou/{name}": value for name, value in self.iou.items()},
            **{f"{at}_mean": value for at, value in self.mean_boundary_f1.items()},
            **{f"{at}/{name}": value for at, by_class in self.boundary_f1.items() for name, value in by_class.items()},
        }
        return {name: value for name, value in named.items() if value is not None}


def compute_scores(confusion: np.ndarray, label_set: LabelSet) -> Scores:
    """Scores of one C x C confusion matrix summed over a whole set."""
    return _named(confusion_scores(confusion, label_set), label_set)


def compute_all_scores(counts: Counts, label_set: LabelSet) -> Scores:
    """Scores of the sum of a whole set's counts."""
    return _named(score_arrays(counts, label_set), label_set)


def score_arrays(counts: Counts, label_set: LabelSet) -> ScoreArrays:
    """Every score. Its shape is that of the leading axes of the counts."""
    return confusion_scores(counts.confusion, label_set) | boundary_scores(counts.boundary, label_set)


def confusion_scores(confusion: np.ndarray, label_set: LabelSet) -> ScoreArrays:
    """Scores from ... x C x C confusion counts."""
    f1 = {f"f1/{name}": f1_of(confusion, [i]) for i, name in enumerate(label_set.names)}
    iou = {f"iou/{name}": iou_of(confusion, [i]) for i, name in enumerate(label_set.names)}
    merged = {f"f1/{name}": f1_of(confusion, label_set.ids(group)) for name, group in label_set.merged.items()}
    right, total = np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1))
    accuracy = _ratio(right, total, total > 0)
    means = {"mean_f1": _mean(f1.values()), "mean_iou": _mean(iou.values())}
    return f1 | iou | merged | means | {"pixel_accuracy": accuracy}


def boundary_scores(boundary: np.ndarray, label_set: LabelSet) -> ScoreArrays:
    """Scores from ... x C x tolerances x 2 x 2 boundary counts. A class without any true outline has no score."""
    scores: ScoreArrays = {}
    for t, at in enumerate(AT.values()):
        by_class = {f"{at}/{name}": boundary_f1_of(boundary[..., i, t, :, :]) for i, name in enumerate(label_set.names)}
        scores |= by_class | {f"mean_{at}": _mean(by_class.values())}
    return scores


def resolve_metric(name: str, label_set: LabelSet) -> str:
    """Name of the score for `train.best_metric`. It resolves `auto`.

    Raises:
        SettingsError: the label set has no such score.
    """
    if name == "auto":
        return "f1/overall" if "overall" in label_set.merged else "mean_f1"
    known = score_names(label_set)
    if name not in known:
        logged = {flat_name(one, label_set): one for one in known}  # names in metrics.jsonl and MLflow
        shown = name.removeprefix("val/")
        meant = f"; did you mean {logged[shown]!r}?" if shown in logged else nearest(shown, known)
        raise SettingsError(f"train.best_metric = {name!r}: not a score of {label_set.name}{meant}")
    return name


def flat_name(name: str, label_set: LabelSet) -> str:
    """Name in `Scores.flat` for a name of `Scores.get`."""
    kind, _, of = name.partition("/")
    if kind == "f1" and of in label_set.merged:
        return f"f1_merged/{of}"
    return {"mean_f1": "f1_mean", "mean_iou": "miou"}.get(name, name)


def score_names(label_set: LabelSet) -> list[str]:
    """Names that `Scores.get` takes for scores of a confusion matrix."""
    classes = [f"{kind}/{name}" for kind in ("f1", "iou") for name in label_set.names]
    return ["mean_f1", "mean_iou", "pixel_accuracy", *(f"f1/{name}" for name in label_set.merged), *classes]


def f1_of(confusion: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """F1, 2 I / (A + B), with `ids` as one class: confusions among them are hits."""
    intersection, truth, prediction = _areas(confusion, ids)
    return _ratio(2 * intersection, truth + prediction, truth > 0)


def iou_of(confusion: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """IoU, I / (A + B - I), with `ids` as one class."""
    intersection, truth, prediction = _areas(confusion, ids)
    return _ratio(intersection, truth + prediction - intersection, truth > 0)


def boundary_f1_of(counts: np.ndarray) -> np.ndarray:
    """Boundary F1, 2 P R / (P + R), from ... x 2 (truth, prediction) x 2 (matched, all) counts.

    0 where nothing was predicted.
    """
    matched, total = counts[..., 0], counts[..., 1]
    recall, precision = np.moveaxis(matched / np.maximum(total, 1), -1, 0)
    there = total[..., 0] > 0
    f1 = _ratio(2 * precision * recall, precision + recall, there & (precision + recall > 0))
    return np.where(there & np.isnan(f1), 0.0, f1)


def _areas(confusion: np.ndarray, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of `ids` in both labels (I), in the truth (A), and in the prediction (B)."""
    chosen = list(ids)
    rows = confusion[..., chosen, :]
    return rows[..., chosen].sum((-2, -1)), rows.sum((-2, -1)), confusion[..., chosen].sum((-2, -1))


def _ratio(numerator: np.ndarray, denominator: np.ndarray, defined: np.ndarray) -> np.ndarray:
    nothing = np.full(np.shape(defined), np.nan)
    return np.divide(numerator, denominator, out=nothing, where=defined)


def _mean(scores: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over the classes that occur, without the first, which is background; nan where there are none."""
    _, *classes = scores
    return mean_of_present(classes)


def mean_of_present(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of one or more scores of one shape, without those that are nan; nan where all are."""
    present = [~np.isnan(score) for score in scores]
    total = sum(np.where(there, score, 0.0) for there, score in zip(present, scores, strict=True))
    count = sum(there.astype(np.int64) for there in present)
    return _ratio(np.asarray(total), np.asarray(count), np.asarray(count) > 0)


def _named(values: Mapping[str, np.ndarray], label_set: LabelSet) -> Scores:
    """Single scores by class, as plain numbers."""

    def by_name(kind: str, names: Iterable[str]) -> dict[str, Score]:
        return {name: plain(values[f"{kind}/{name}"]) for name in names}

    kinds = [at for at in AT.values() if f"mean_{at}" in values]
    return Scores(
        f1=by_name("f1", label_set.names),
        iou=by_name("iou", label_set.names),
        merged_f1=by_name("f1", label_set.merged),
        mean_f1=plain(values["mean_f1"]) or 0.0,
        mean_iou=plain(values["mean_iou"]) or 0.0,
        pixel_accuracy=plain(values["pixel_accuracy"]) or 0.0,
        boundary_f1={at: by_name(at, label_set.names) for at in kinds},
        mean_boundary_f1={at: plain(values[f"mean_{at}"]) or 0.0 for at in kinds},
    )


def plain(value: np.ndarray | np.floating) -> Score:
    """One number as a float; None for nan."""
    return None if np.isnan(value) else float(value)
