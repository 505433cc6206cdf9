"""Turn a photograph into a network's input, in NumPy. Training, scoring and a server without PyTorch share it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np

from faceparse.core.images.warp import Size, crop_matrix, stretch_matrix, warp_image
from faceparse.core.limits import LARGEST_SIDE

Fit = Literal["crop", "stretch"]
"""How a whole photograph fills the input: `crop`, with its aspect kept, centred on black; `stretch`, each side by
itself, as many networks of others are trained. Crops of faces always keep the aspect."""

STEP, SMALLEST, LARGEST = 32, 64, LARGEST_SIDE
"""Sides of the input of a network that takes any size: multiples of STEP, from SMALLEST to LARGEST."""


class Photo(NamedTuple):
    """A photograph ready for the network, and the way back."""

    crop: np.ndarray
    """H x W x 3 uint8 RGB."""
    matrix: np.ndarray
    """2 x 3, photograph -> crop."""
    size: Size
    """Size of the photograph."""


def prepare_photo(image: np.ndarray, crop: Size, fit: Fit = "crop") -> Photo:
    """Crop that evaluation and prediction use: the whole photograph, no augmentation."""
    size = (image.shape[0], image.shape[1])
    if fit == "stretch":
        return Photo(stretch(image, crop), stretch_matrix(size, crop), size)
    matrix = crop_matrix(size, crop)
    return Photo(warp_image(image, matrix, crop), matrix, size)


def stretch(image: np.ndarray, size: Size) -> np.ndarray:
    """Stretch a photograph to `size`, bilinear: both pictures' outer edges lie on each other."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def scale_and_shift(mean: Sequence[float], std: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Factor and offset that make (x / 255 - mean) / std one multiply and one add: float32, one number per channel."""
    means, stds = np.array(mean, np.float32), np.array(std, np.float32)
    return 1 / (255 * stds), -means / stds


def normalise(crops: np.ndarray, *, bgr: bool, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """N x H x W x 3 uint8 RGB -> N x 3 x H x W float32: channels ordered, then (x / 255 - mean) / std."""
    planes = crops[..., :: -1 if bgr else 1].transpose(0, 3, 1, 2)
    scale, shift = (numbers[:, None, None] for numbers in scale_and_shift(mean, std))
    result = np.multiply(planes, scale, dtype=np.float32, order="C")
    return np.add(result, shift, out=result)
