"""Confusion counts: the integers that every score is derived from."""

import cv2
import numpy as np

_EXACT_IN_FLOAT32 = 2**24


def confusion_counts(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """classes x classes int64: [i, j] counts the pixels of class i predicted as j.

    Both H x W uint8. Pixels whose truth is not a class (255 among them) are not counted.
    """
    counts = np.zeros((classes, classes), np.int64)
    # OpenCV's histogram is the fastest there is, but counts in float32: feed it what that holds exactly.
    rows = max(1, _EXACT_IN_FLOAT32 // truth.shape[1])
    for start in range(0, truth.shape[0], rows):
        pair = [truth[start : start + rows], prediction[start : start + rows]]
        counts += cv2.calcHist(pair, [0, 1], None, [classes, classes], [0, classes, 0, classes]).astype(np.int64)
    return counts
