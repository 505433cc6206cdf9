"""Boundary counts: the integers behind boundary F1.

Boundary F1 asks whether outlines are in the right place, which F1 of areas hardly shows in large classes (Csurka et
al., *What is a good evaluation measure for semantic segmentation?*, BMVC 2013; the contour measure F of DAVIS, Perazzi
et al., CVPR 2016). For one class and one tolerance:

    precision = predicted boundary pixels near a true one / all predicted boundary pixels
    recall    = true boundary pixels near a predicted one / all true boundary pixels
    F1        = 2 precision recall / (precision + recall)

The sources leave some points open. Here:
- A boundary pixel of a class belongs to the class, and one of its four neighbours belongs to another class.
- Near means a Euclidean distance between pixel centres of at most the tolerance, to a boundary pixel of the same class.
- The image's border is no boundary: an object that the frame cuts off has no outline there.
- Pixels with ignored truth belong to no class, also in the prediction, and are no boundary to their neighbours.
- Counts are summed over all images before they are divided, as for F1 and IoU. DAVIS averages over images.
"""

from collections.abc import Iterator

import numpy as np

TOLERANCES = (1, 2, 4)
"""Tolerances in pixels of the truth."""

_MARGIN = max(TOLERANCES)
_NONE = 255
"""Value of pixels without a class. At most 255 classes have ids below it."""


def boundary_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Counts of boundary pixels: int64, classes x tolerances x 2 sides (truth, prediction) x 2 (matched, all).

    Both labels are H x W uint8. Pixels whose truth is not a class (255 among them) are ignored.
    """
    counted = truth < classes
    true, predicted = _boundary(truth, counted), _boundary(prediction, counted)
    sides = [_matches(true, predicted, classes), _matches(predicted, true, classes)]
    return np.stack(sides, axis=2)


def _boundary(label: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The class at boundary pixels; _NONE elsewhere and in a margin around the image."""
    on = np.zeros(label.shape, bool)
    for a, b in (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]):
        differ = (label[a] != label[b]) & counted[a] & counted[b]
        on[a] |= differ
        on[b] |= differ
    return np.pad(np.where(on, label, np.uint8(_NONE)), _MARGIN, constant_values=_NONE)


def _matches(ours: np.ndarray, others: np.ndarray, classes: int) -> np.ndarray:
    """Our boundary pixels, classes x tolerances x 2: those with a pixel of their class among the others', and all.

    Boundaries are thin: a look around each of their pixels costs less than a distance transform for each class.
    """
    places = np.flatnonzero(ours != _NONE)
    own, around = ours.ravel()[places], others.ravel()
    total = np.bincount(own, minlength=classes)
    counts = []
    for ring in _rings(ours.shape[1]):
        hit = np.zeros(len(places), bool)
        for offset in ring:
            hit |= around[places + offset] == own
        places, own = places[~hit], own[~hit]  # the rest may have a match farther away
        matched = total - np.bincount(own, minlength=classes)
        counts.append(np.stack([matched, total], axis=1))
    return np.stack(counts, axis=1).astype(np.int64)


def _rings(stride: int) -> Iterator[list[int]]:
    """For each tolerance, yield the steps to all pixels within it, without those within a smaller tolerance.

    Steps are those in a flat picture with rows of `stride`.
    """
    reach = range(-_MARGIN, _MARGIN + 1)
    below = -1
    for tolerance in TOLERANCES:
        yield [y * stride + x for y in reach for x in reach if below < y * y + x * x <= tolerance**2]
        below = tolerance**2
