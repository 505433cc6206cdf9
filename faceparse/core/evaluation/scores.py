"""Scores as pure functions of a confusion matrix (rows: truth, columns: prediction)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.errors import SettingsError
from faceparse.core.labels import LabelSet, nearest

Score = float | None
"""A fraction of 1, or None for a class that is absent from the truth: 0 / 0 is neither good nor bad."""


@dataclass(frozen=True)
class Scores:
    """Means leave out background and absent classes."""

    f1: dict[str, Score]
    iou: dict[str, Score]
    merged_f1: dict[str, Score]
    mean_f1: float
    mean_iou: float
    pixel_accuracy: float

    def get(self, name: str) -> Score:
        """`mean_f1`, `mean_iou`, `pixel_accuracy`, `f1/<class or merged name>` or `iou/<class>`."""
        if name.startswith("f1/"):
            return (self.f1 | self.merged_f1)[name.removeprefix("f1/")]
        return self.iou[name.removeprefix("iou/")] if name.startswith("iou/") else getattr(self, name)

    def flat(self) -> dict[str, float]:
        """Metric names as they stand in MLflow; absent classes are left out."""
        named = {
            "f1_mean": self.mean_f1,
            "miou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            **{f"f1/{name}": value for name, value in self.f1.items()},
            **{f"f1_merged/{name}": value for name, value in self.merged_f1.items()},
            **{f"iou/{name}": value for name, value in self.iou.items()},
        }
        return {name: value for name, value in named.items() if value is not None}


def compute_scores(confusion: np.ndarray, label_set: LabelSet) -> Scores:
    """Scores of one C x C confusion matrix summed over a whole set."""
    f1 = {name: f1_of(confusion, [i]) for i, name in enumerate(label_set.names)}
    iou = {name: iou_of(confusion, [i]) for i, name in enumerate(label_set.names)}
    background = label_set.names[0]
    total = int(confusion.sum())
    return Scores(
        f1=f1,
        iou=iou,
        merged_f1={name: f1_of(confusion, label_set.ids(group)) for name, group in label_set.merged.items()},
        mean_f1=_mean(value for name, value in f1.items() if name != background),
        mean_iou=_mean(value for name, value in iou.items() if name != background),
        pixel_accuracy=float(np.trace(confusion)) / total if total else 0.0,
    )


def resolve_metric(name: str, label_set: LabelSet) -> str:
    """The score that `train.best_metric` means.

    Raises:
        SettingsError: the label set has no such score.
    """
    if name == "auto":
        return "f1/overall" if "overall" in label_set.merged else "mean_f1"
    known = score_names(label_set)
    if name not in known:
        raise SettingsError(f"train.best_metric = {name!r}: not a score of {label_set.name}{nearest(name, known)}")
    return name


def score_names(label_set: LabelSet) -> list[str]:
    """What `Scores.get` knows."""
    classes = [f"{kind}/{name}" for kind in ("f1", "iou") for name in label_set.names]
    return ["mean_f1", "mean_iou", "pixel_accuracy", *(f"f1/{name}" for name in label_set.merged), *classes]


def f1_of(confusion: np.ndarray, ids: Sequence[int]) -> Score:
    """2 I / (A + B) with `ids` taken as one class before counting: confusions among them are hits."""
    intersection, truth, prediction = _counts(confusion, ids)
    return 2 * intersection / (truth + prediction) if truth else None


def iou_of(confusion: np.ndarray, ids: Sequence[int]) -> Score:
    """I / (A + B - I), `ids` taken as one class."""
    intersection, truth, prediction = _counts(confusion, ids)
    return intersection / (truth + prediction - intersection) if truth else None


def _counts(confusion: np.ndarray, ids: Sequence[int]) -> tuple[int, int, int]:
    chosen = list(ids)
    return (
        int(confusion[np.ix_(chosen, chosen)].sum()),
        int(confusion[chosen].sum()),
        int(confusion[:, chosen].sum()),
    )


def _mean(values: Iterable[Score]) -> float:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else 0.0
