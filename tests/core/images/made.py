"""Small pictures and the files that hold them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.errors import DatasetError

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (40, 56, 3), dtype=np.uint8)
LABEL = RANDOM.integers(0, 11, (40, 56), dtype=np.uint8)
PALETTE = RANDOM.integers(0, 256, (11, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 6, np.arange(56)[None] * 4, 90), axis=2).astype(np.uint8)
"""Survives JPEG nearly unchanged."""


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    """A picture as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def palette_png(label: np.ndarray, **options: object) -> bytes:
    picture = Image.fromarray(label, mode="P")
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def placed(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def refusal(read: object, path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(DatasetError) as caught:
        read(path)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def uniform_png(side: int) -> bytes:
    """A black 1-bit picture, whose zeros nearly vanish."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
