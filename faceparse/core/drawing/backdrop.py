"""The scene behind a drawn head."""

import cv2
import numpy as np

from faceparse.core.drawing.colours import Floats
from faceparse.core.drawing.face_parameters import FaceParameters


def _grain(rng: np.random.Generator, cells: int, size: int) -> Floats:
    """Smooth noise around 0.5 over a picture, from cells x cells random values whatever its size."""
    coarse = rng.random((cells, cells), np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def backdrop(face: FaceParameters, size: int) -> Floats:
    """The scene behind the head: two colours in a pattern, mottled."""
    rng = np.random.default_rng(face.texture_seed)
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
    cos, sin = np.cos(np.float32(face.pattern_angle)), np.sin(np.float32(face.pattern_angle))
    along, across = cos * x + sin * y, cos * y - sin * x
    frequency = np.float32(2 * np.pi * face.pattern_scale)
    match face.pattern:
        case "ramp":
            amount = along + 0.5
        case "blobs":
            amount = _grain(rng, 2 + int(face.pattern_scale), size)
        case "stripes":
            amount = 0.5 + 0.5 * np.tanh(3 * np.sin(frequency * along))
        case _:
            amount = 0.5 + 0.5 * np.tanh(4 * np.sin(frequency * along) * np.sin(frequency * across))
    near, far = face.backdrop
    mottle = 0.86 + 0.16 * _grain(rng, 7, size) + 0.12 * _grain(rng, 40, size)
    return np.asarray((near + amount[..., None] * (far - near)) * mottle[..., None], np.float32)
