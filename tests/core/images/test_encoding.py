"""Pictures that are written and read again."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_label import is_palette_png, read_label
from faceparse.core.images.read_photograph import read_image
from tests.core.images.made import COLOURS, LABEL, PALETTE, SMOOTH


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 56)])
def test_palette_png_round_trip(tmp_path: Path, shape: tuple[int, int]) -> None:
    label = LABEL[: shape[0], : shape[1]].copy()
    path = tmp_path / "out" / "a.png"
    write_palette_png(path, label, PALETTE)
    assert is_palette_png(path)
    assert np.array_equal(read_label(path), label)
    assert np.array_equal(read_image(path), PALETTE[label])  # what eyes see
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("array", [LABEL, COLOURS, np.dstack([COLOURS, LABEL])], ids=["label", "colours", "alpha"])
def test_png_round_trip(array: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(array))) as picture:
        assert np.array_equal(np.array(picture), array)


def test_jpeg_round_trip_keeps_the_colours_apart() -> None:
    with Image.open(io.BytesIO(encode_jpeg(SMOOTH))) as picture:
        assert picture.format == "JPEG"
        assert np.abs(np.array(picture).astype(int) - SMOOTH).max() < 16


def test_jpeg_quality_costs_bytes() -> None:
    assert len(encode_jpeg(COLOURS, quality=30)) < len(encode_jpeg(COLOURS, quality=95))
