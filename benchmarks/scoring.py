"""Compare confusion counts with a per-class Python loop."""

import numpy as np

from benchmarks.harness import Result, medians, speedup
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.counts import confusion_counts


def run() -> list[Result]:
    """Measure with 11 and with 19 classes."""
    truth = draw_face(np.random.default_rng(1), 512).label.copy()
    truth[:9] = IGNORE
    prediction = draw_face(np.random.default_rng(2), 512).label
    return [_compare(truth, prediction, classes) for classes in (11, 19)]


def _compare(truth: np.ndarray, prediction: np.ndarray, classes: int) -> Result:
    assert np.array_equal(class_loop(truth, prediction, classes), confusion_counts(truth, prediction, classes))
    ours, loop = medians(
        lambda: confusion_counts(truth, prediction, classes), lambda: class_loop(truth, prediction, classes), rounds=30
    )
    return speedup(f"scoring: counts of a 512 x 512 pair, {classes} classes, against a per-class loop", ours, loop, 20)


def class_loop(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Confusion counts, C x C int64, by one pass for each pair of classes."""
    counts = np.zeros((classes, classes), np.int64)
    for i in range(classes):
        for j in range(classes):
            counts[i, j] = np.sum((truth == i) & (prediction == j))
    return counts
