"""Where a label's classes lie and how large they are: all that is kept of a label once it has been read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Of one label (arrays of C values) or of a set of N labels (N x C), by class id."""

    pixels: np.ndarray
    """int64."""
    x: np.ndarray
    """float32: the mean, in fractions of the width; NaN where the class is absent."""
    y: np.ndarray
    """float32: the mean, in fractions of the height; NaN where the class is absent."""

    @property
    def present(self) -> np.ndarray:
        return self.pixels > 0


def label_moments(label: np.ndarray, classes: int = 256) -> Moments:
    """Moments of the first `classes` ids of an H x W uint8 label."""
    pixels = _histograms(label).sum(axis=0)
    x, y = (_mean(_histograms(turned), pixels) for turned in (label.T, label))
    return Moments(pixels[:classes], x[:classes], y[:classes])


def _histograms(label: np.ndarray) -> np.ndarray:
    """H x 256 int64: how often each id stands in each row."""
    rows = np.arange(len(label))[:, None] * 256
    return np.bincount((rows + label).ravel(), minlength=len(label) * 256).reshape(-1, 256)


def _mean(histograms: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    middles = (np.arange(len(histograms)) + 0.5) / len(histograms)
    with np.errstate(invalid="ignore"):
        return np.asarray((middles @ histograms) / pixels, np.float32)


def stack_moments(moments: Sequence[Moments], classes: int) -> Moments:
    if not moments:
        nothing = np.zeros((0, classes))
        return Moments(nothing.astype(np.int64), nothing, nothing)
    return Moments(*(np.stack(values) for values in zip(*moments, strict=True)))
