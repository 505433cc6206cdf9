"""Position and size of a label's classes: all that is kept of a label after it is read."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Size and position of each class, by class id: in one label (arrays of C values) or in N labels (N x C)."""

    pixels: np.ndarray
    """Number of pixels, int64."""
    x: np.ndarray
    """Mean position from left to right, as a fraction of the width, float32; NaN where the class is absent."""
    y: np.ndarray
    """Mean position from top to bottom, as a fraction of the height, float32; NaN where the class is absent."""

    @property
    def present(self) -> np.ndarray:
        """Whether each class is there, bool."""
        return self.pixels > 0


def label_moments(label: np.ndarray, classes: int = 256) -> Moments:
    """Moments of the first `classes` ids of an H x W uint8 label."""
    pixels = _histograms(label).sum(axis=0)
    x, y = (_mean(_histograms(turned), pixels) for turned in (label.T, label))
    return Moments(pixels[:classes], x[:classes], y[:classes])


def _histograms(label: np.ndarray) -> np.ndarray:
    """Number of pixels of each id in each row, H x 256 int64."""
    rows = np.arange(len(label))[:, None] * 256
    return np.bincount((rows + label).ravel(), minlength=len(label) * 256).reshape(-1, 256)


def _mean(histograms: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    middles = (np.arange(len(histograms)) + 0.5) / len(histograms)
    with np.errstate(invalid="ignore"):
        return np.asarray((middles @ histograms) / pixels, np.float32)


def stack_moments(moments: Sequence[Moments], classes: int) -> Moments:
    """Moments of N labels as one, N x C; N may be 0."""
    if not moments:
        nothing = np.zeros((0, classes))
        return Moments(nothing.astype(np.int64), nothing, nothing)
    return Moments(*(np.stack(values) for values in zip(*moments, strict=True)))
