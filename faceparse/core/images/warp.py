"""Warp images and labels by 2 x 3 matrices.

Coordinates are pixel centres: an image of width w spans x = 0 .. w - 1. Sizes are (height, width).
"""

import math

import cv2
import numpy as np

from faceparse.core.labels.classes import IGNORE

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
    x, y = (image[1] - 1) / 2, (image[0] - 1) / 2  # the image's centre maps to the crop's
    return np.array([[c, s, crop_width / 2 - c * x - s * y], [-s, c, crop_height / 2 + s * x - c * y]])


def stretch_matrix(image: Size, crop: Size) -> np.ndarray:
    """2 x 3 float64, image -> crop: each side by itself, outer edge onto outer edge, as `cv2.resize` places pixels."""
    (height, width), (crop_height, crop_width) = image, crop
    x, y = crop_width / width, crop_height / height
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])


def warp_image(image: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Warp an image of up to four channels: bilinear, black outside."""
    if image.ndim == 3 and image.shape[2] == 3:  # OpenCV warps four channels in less time than three
        return cv2.cvtColor(warp_image(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), matrix, size), cv2.COLOR_RGBA2RGB)
    return cv2.warpAffine(
        image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )


def warp_label(label: np.ndarray, matrix: np.ndarray, size: Size, *, border: int = IGNORE) -> np.ndarray:
    """Warp a label: nearest neighbour, `border` outside."""
    return cv2.warpAffine(
        label, matrix, size[::-1], flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )


def unwarp_label(label: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """Warp a label back through a source -> crop matrix: nearest neighbour, background outside."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(label, matrix, size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def invert(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a 2 x 3 matrix: 2 x 3 float64."""
    return cv2.invertAffineTransform(matrix.astype(np.float64))


def chain(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """2 x 3 matrix that applies `first`, then `second`."""
    return second[:, :2] @ first + np.hstack([np.zeros((2, 2)), second[:, 2:]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map N x 2 points (x, y) through a 2 x 3 matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def enlarge_logits(logits: np.ndarray, matrix: np.ndarray, size: Size) -> np.ndarray:
    """C x h x w float32 logits of a crop -> H x W uint8 ids of a picture of `size`, through the picture -> crop matrix.

    Each pixel takes the largest of its bilinearly interpolated logits, or 0 outside the crop. Where one class wins in
    all four logits around a pixel, it wins between them, too: only pixels along borders have to be interpolated.
    """
    ids = logits.argmax(axis=0).astype(np.uint8)
    labels = unwarp_label(ids, matrix, size)
    low, high = cv2.erode(ids, _BLOCK, anchor=(0, 0)), cv2.dilate(ids, _BLOCK, anchor=(0, 0))
    mixed = cv2.dilate((low != high).astype(np.uint8), np.ones((3, 3), np.uint8))  # one more on each side: warps round
    rows, columns = np.nonzero(unwarp_label(mixed, matrix, size))
    if not len(rows):
        return labels
    places = apply(matrix, np.stack([columns, rows], axis=1).astype(np.float64)).astype(np.float32)
    classes = np.unique(ids)
    values = np.concatenate([_sampled(logits[four], places) for four in np.split(classes, range(4, len(classes), 4))])
    labels[rows, columns] = classes[values.argmax(axis=0)]
    return labels


_BLOCK = np.ones((2, 2), np.uint8)
_WIDTH = 4096
"""Points in a row. OpenCV remaps to pictures, whose sides must not be too long, so the points are laid out in rows."""


def _sampled(planes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """C x N: up to four planes (C x h x w) at N places (x, y), bilinear; the border's values repeat beyond it."""
    height = -(-len(places) // _WIDTH)
    grid = np.zeros((height * _WIDTH, 2), np.float32)
    grid[: len(places)] = places
    picture = np.ascontiguousarray(planes.transpose(1, 2, 0))
    x, y = cv2.split(grid.reshape(height, _WIDTH, 2))
    sampled = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled.reshape(height * _WIDTH, -1)[: len(places)].T)
