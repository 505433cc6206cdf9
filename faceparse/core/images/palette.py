"""Encode and write labels as indexed PNGs."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from faceparse.core.files.writing import write_atomic


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
