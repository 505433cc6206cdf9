"""Confusion counts: the integers that every score is derived from."""

import cv2
import numpy as np

_EXACT_IN_FLOAT32 = 2**24


def confusion_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix, classes x classes int64: [i, j] counts the pixels of class i that are predicted as j.

    Both labels are H x W uint8. Pixels whose truth is not a class (255, for example) are not counted.
    """
    counts = np.zeros((classes, classes), np.int64)
    # OpenCV's histogram is fastest, but counts in float32: give it no more pixels than that counts exactly.
    rows = max(1, _EXACT_IN_FLOAT32 // truth.shape[1])
    for start in range(0, truth.shape[0], rows):
        pair = [truth[start : start + rows], prediction[start : start + rows]]
        counts += cv2.calcHist(pair, [0, 1], None, [classes, classes], [0, classes, 0, classes]).astype(np.int64)
    return counts
