"""Encode pictures and labels as PNG and JPEG."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from faceparse.core.files.writing import write_atomic


def encode_png(array: np.ndarray) -> bytes:
    """PNG of an H x W, H x W x 3 (RGB) or H x W x 4 (RGBA) uint8 array."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", array)[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """JPEG of an H x W x 3 uint8 RGB array."""
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_palette_png(label: np.ndarray, palette: np.ndarray) -> bytes:
    """Indexed PNG of an H x W uint8 label: programs read ids, people see colours."""
    picture = Image.fromarray(label, mode="P")
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_palette_png(path: Path, label: np.ndarray, palette: np.ndarray) -> None:
    """Write a label as an indexed PNG (see `encode_palette_png`).

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(path, encode_palette_png(label, palette))
