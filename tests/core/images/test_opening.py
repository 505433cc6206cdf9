"""Pictures are opened by their content, and only those that are safe and small enough."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.images.opening import open_picture, read_size
from faceparse.core.images.read_label import read_label, read_mask
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES, decode_image, read_image
from tests.core.images.made import SMOOTH, encoded, placed, refusal, uniform_png

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("read", [read_label, read_image, read_size, read_mask])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_no_program_is_started_for_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], name: str
) -> None:
    """Pillow calls Ghostscript for what is PostScript inside."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    path = placed(POSTSCRIPT, tmp_path / name)
    assert refusal(read, path).startswith(f"{path}: ")


@pytest.mark.parametrize("side", [12_256, 30_000])
def test_a_photograph_too_large_for_memory_is_not_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(DatasetError, match=r"^big.png: more than 150 megapixels; make it smaller$"):
        decode_image(uniform_png(side), "big.png")


def test_a_large_photograph_is_still_one() -> None:
    assert decode_image(uniform_png(2000), "large.png").shape == (2000, 2000, 3)


def test_pillows_lower_limit_is_not_told(tmp_path: Path) -> None:
    path = placed(uniform_png(10_000), tmp_path / "large.png")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert read_size(path) == (10_000, 10_000)
        with open_picture(path) as picture:
            picture.load()
    assert not told


def test_an_import_changes_nothing_of_the_process() -> None:
    """Neither the warnings that others see nor the environment of what they start, but for the reports of libraries."""
    code = (
        "import os, warnings, cv2, numpy, PIL.Image, faceparse.core.telemetry as telemetry;"
        "assert all(os.environ[name] for name in telemetry.VARIABLES);"
        "before = list(warnings.filters), dict(os.environ);"
        "import faceparse, faceparse.core.images.read_photograph, faceparse.core.images.read_label;"
        "import faceparse.core.drawing.drawn_face, faceparse.core.datasets.prepare;"
        "assert (list(warnings.filters), dict(os.environ)) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_heic_without_what_reads_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(4)
    with pytest.raises(ResourceError) as caught:
        decode_image(data, "a.heic")
    assert str(caught.value) == ("a.heic: a HEIC photograph; 'pip install pillow-heif' reads them, or save it as JPEG")


def test_heic_is_read_where_the_package_is_there() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert np.abs(decode_image(encoded(SMOOTH, "HEIF", quality=95), "a.heic").astype(int) - SMOOTH).mean() < 8
    assert ".heic" in IMAGE_SUFFIXES
