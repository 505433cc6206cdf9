"""Counts that an evaluation keeps of its images: integers, from which all scores are computed later."""

from dataclasses import dataclass

import numpy as np

from faceparse.core.labels.counts import confusion_counts
from faceparse.core.scoring.boundary import TOLERANCES, boundary_counts


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one image, of a batch (leading axes), or of a whole set."""

    confusion: np.ndarray
    """Pixels by truth and prediction, ... x C x C."""
    boundary: np.ndarray
    """Boundary pixels, ... x C x tolerances x 2 (truth, prediction) x 2 (matched, all)."""

    def __len__(self) -> int:
        return len(self.confusion)

    def put(self, image: int, one: "Counts") -> None:
        """Store the counts of one image at position `image` of a batch."""
        self.confusion[image], self.boundary[image] = one.confusion, one.boundary

    def sum(self) -> "Counts":
        """Counts of the whole set, from those of its images."""
        return Counts(self.confusion.sum(axis=0), self.boundary.sum(axis=0))

    def of(self, images: np.ndarray) -> "Counts":
        """Counts of chosen images, by their positions."""
        return Counts(self.confusion[images], self.boundary[images])

    def weighted(self, weights: np.ndarray) -> "Counts":
        """Weighted sums of N images: R x N weights -> R sums, as float64, which holds integers up to 2**53 exactly."""
        return Counts(_weighted(weights, self.confusion), _weighted(weights, self.boundary))


def _weighted(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    # As floats: NumPy uses the fast BLAS products for floats only.
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    return (weights.astype(np.float64) @ flat).reshape(len(weights), *counts.shape[1:])


def count_image(truth: np.ndarray, prediction: np.ndarray, classes: int) -> Counts:
    """Counts of one image. Both labels are H x W uint8 ids. Pixels whose truth is not a class are ignored."""
    return Counts(confusion_counts(truth, prediction, classes), boundary_counts(truth, prediction, classes))


def no_counts(images: int, classes: int) -> Counts:
    """Zero counts for `images` images, to be filled by `put`."""
    return Counts(
        np.zeros((images, classes, classes), np.int64), np.zeros((images, classes, len(TOLERANCES), 2, 2), np.int64)
    )
