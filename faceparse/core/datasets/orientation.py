"""Detect labels that fit the stored photograph, before its EXIF orientation turns it upright.

Tools that ignore EXIF draw such labels. Where a turn swaps height and width, the sizes tell; here the pixels tell.
"""

import cv2
import numpy as np

MARGIN = 1.05
"""Factor by which the turned label must fit better. Of 200 labels of CelebAMask-HQ, none does; once turned, all do."""


def is_drawn_as_stored(image: np.ndarray, label: np.ndarray, orientation: int) -> bool:
    """Whether a label fits an upright photograph better after the turn that EXIF gives the photograph.

    Args:
        image: H x W x 3 uint8 RGB, upright.
        label: H x W uint8 class ids.
        orientation: the photograph's EXIF orientation, 1 to 8.
    """
    if orientation == 1:
        return False
    turned = _turn(label, orientation)
    return turned.shape == label.shape and _fit(image, turned) > MARGIN * _fit(image, label)


def drawn_as_stored(turned: int, stored: int) -> str:
    """Problem of labels that fit the stored photographs, as one line; empty unless most labels do.

    Args:
        turned: number of labels whose photographs EXIF turns upright.
        stored: number of these that fit the stored photograph better.
    """
    if 2 * stored <= turned:
        return ""
    return (
        f"{stored} of {turned} labels fit their photographs as these are stored, not as their EXIF orientation turns "
        "them; turn the labels likewise, or save the photographs upright without EXIF"
    )


def _turn(label: np.ndarray, orientation: int) -> np.ndarray:
    if orientation > 4:
        label = label.T
    flipped = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = flipped[orientation]
    return label[::down, ::right]


def _fit(image: np.ndarray, label: np.ndarray) -> float:
    """Mean gradient of the photograph along the borders between the label's classes."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 2).astype(np.float32)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    meet = np.zeros(label.shape, bool)
    meet[1:] |= label[1:] != label[:-1]
    meet[:, 1:] |= label[:, 1:] != label[:, :-1]
    return float(gradient[meet].mean()) if meet.any() else 0.0
