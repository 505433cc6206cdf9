"""Geometry and colour of one sample: pure functions of the image's size and of a random generator.

Matrices are 2 x 3, source -> crop.
"""

import random
from dataclasses import dataclass

import cv2
import numpy as np

from faceparse.core.geometry import Size, warp_image
from faceparse.core.settings import DataSettings


@dataclass(frozen=True)
class Augmentation:
    """What is done to one sample in one epoch; the default does nothing."""

    scale: float = 1.0
    """Side of the region that is cut out, as a multiple of the image box: above 1 the face gets smaller."""
    rotation: float = 0.0
    """Degrees."""
    mirror: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def draw_augmentation(settings: DataSettings, *, seed: int, epoch: int, index: int) -> Augmentation:
    """A pure function of its arguments: the same sample looks the same in the same epoch, whoever loads it."""
    # Python's own generator: seeded from text it is the same everywhere, and costs a tenth of NumPy's to set up.
    draw = random.Random(f"{seed} {epoch} {index}")
    # Every number is drawn whatever the settings, so that switching one off leaves the others as they were.
    normal_scale, normal_rotation = draw.gauss(), draw.gauss()
    turned, mirrored, *jitter = (draw.random() for _ in range(5))
    sigma = settings.scale_sigma if settings.random_scale else 0.0
    rotate = settings.random_scale and turned < settings.rotation_probability
    brightness, contrast, saturation = (1 + settings.color_jitter * (2 * value - 1) for value in jitter)
    return Augmentation(
        scale=_clip(1 + sigma * normal_scale, 1 - sigma, 1 + sigma),
        rotation=settings.rotation_sigma * _clip(normal_rotation, -2, 2) if rotate else 0.0,
        mirror=settings.random_mirror and mirrored < 0.5,
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
    )


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def warp_image_and_edge(
    image: np.ndarray, edge: np.ndarray, matrix: np.ndarray, size: Size
) -> tuple[np.ndarray, np.ndarray]:
    """Both bilinear, black outside; the edge map then `!= 0`, so that edges grow a little thicker, as in the published
    loader: 0 or 1, 0 outside.
    """
    # As one picture: its fourth channel costs nothing (see `warp_image`).
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(edge, picture, 3)
    warped = warp_image(picture, matrix, size)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), (cv2.extractChannel(warped, 3) != 0).view(np.uint8)


def jitter_colour(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """Brightness, contrast around the mean, and saturation of an H x W x 3 uint8 RGB image."""
    a = augmentation
    if (a.brightness, a.contrast, a.saturation) == (1.0, 1.0, 1.0):
        return image
    if a.saturation != 1.0:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, a.saturation, grey, 1 - a.saturation, 0)
    mean = float(image.mean())
    # Not `convertScaleAbs`: it takes the absolute value, so that what contrast makes darker than black turns bright.
    return cv2.addWeighted(image, a.brightness * a.contrast, image, 0, a.brightness * (1 - a.contrast) * mean)
