"""What an evaluation remembers of its images: integers, from which every score is derived later."""

from dataclasses import dataclass

import numpy as np

from faceparse.core.labels.counts import confusion_counts
from faceparse.core.scoring.boundary import TOLERANCES, boundary_counts


@dataclass(frozen=True)
class Counts:
    """Of one image; of many, along axes in front; of their sum."""

    confusion: np.ndarray
    """... x C x C, truth by prediction."""
    boundary: np.ndarray
    """... x C x tolerances x 2 (truth, prediction) x 2 (matched, all)."""

    def __len__(self) -> int:
        return len(self.confusion)

    def put(self, image: int, one: "Counts") -> None:
        """In the place of one of many."""
        self.confusion[image], self.boundary[image] = one.confusion, one.boundary

    def sum(self) -> "Counts":
        return Counts(self.confusion.sum(axis=0), self.boundary.sum(axis=0))

    def of(self, images: np.ndarray) -> "Counts":
        """Chosen ones, by their positions."""
        return Counts(self.confusion[images], self.boundary[images])

    def weighted(self, weights: np.ndarray) -> "Counts":
        """R x N weights -> R weighted sums of the N images, as float64, which holds integers up to 2**53 exactly."""
        return Counts(_weighted(weights, self.confusion), _weighted(weights, self.boundary))


def _weighted(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    # Matrix products of integers do not go through BLAS.
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    return (weights.astype(np.float64) @ flat).reshape(len(weights), *counts.shape[1:])


def count_image(truth: np.ndarray, prediction: np.ndarray, classes: int) -> Counts:
    """Both H x W uint8 ids; pixels whose truth is not a class are ignored."""
    return Counts(confusion_counts(truth, prediction, classes), boundary_counts(truth, prediction, classes))


def no_counts(images: int, classes: int) -> Counts:
    """Of `images` images, to be put in."""
    return Counts(
        np.zeros((images, classes, classes), np.int64), np.zeros((images, classes, len(TOLERANCES), 2, 2), np.int64)
    )
