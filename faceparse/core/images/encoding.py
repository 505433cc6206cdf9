"""Encode pictures and labels as PNG and JPEG."""

import cv2
import numpy as np


def encode_png(array: np.ndarray) -> bytes:
    """PNG of an H x W, H x W x 3 (RGB) or H x W x 4 (RGBA) uint8 array."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", array)[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """JPEG of an H x W x 3 uint8 RGB array."""
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
