"""Warping images and labels by 2 x 3 matrices.

Coordinates are pixel centres: an image of width w spans x = 0 .. w - 1. Sizes are (height, width).
"""

import math

import cv2
import numpy as np

from faceparse.core.labels import IGNORE

Size = tuple[int, int]
"""Height, width."""


def crop_matrix(image: Size, crop: Size, *, scale: float = 1.0, rotation: float = 0.0) -> np.ndarray:
    """2 x 3 float64, image -> crop: the image box, widened to the crop's aspect, fills the crop.

    Args:
        scale: factor on the box before it fills the crop.
        rotation: degrees, counter-clockwise as seen on a screen.
    """
    height, width = (max(side - 1, 1) for side in image)
    crop_height, crop_width = (side - 1 for side in crop)
    zoom = crop_width / (max(width, height * crop_width / crop_height) * scale)
    angle = math.radians(rotation)
    c, s = zoom * math.cos(angle), zoom * math.sin(angle)
    x, y = (image[1] - 1) / 2, (image[0] - 1) / 2  # the image's centre goes to the crop's
    return np.array([[c, s, crop_width / 2 - c * x - s * y], [-s, c, crop_height / 2 + s * x - c * y]])


def warp_image(image: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear, black outside. Any number of channels up to four."""
    if image.ndim == 3 and image.shape[2] == 3:  # OpenCV warps four channels in less time than three
        return cv2.cvtColor(warp_image(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), matrix, size), cv2.COLOR_RGBA2RGB)
    return cv2.warpAffine(
        image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )


def warp_label(label: np.ndarray, matrix: np.ndarray, size: Size, *, border: int = IGNORE) -> np.ndarray:
    """Nearest neighbour, `border` outside."""
    return cv2.warpAffine(
        label, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )


def unwarp_label(label: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Back through a source -> crop matrix, nearest neighbour, background outside."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(label, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def invert(matrix: np.ndarray) -> np.ndarray:
    """The 2 x 3 float64 matrix that leads back."""
    return cv2.invertAffineTransform(matrix.astype(np.float64))


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """N x 2 points (x, y) through a 2 x 3 matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]
