"""A parser that needs no training, and photographs for it."""

import shutil
from pathlib import Path

import cv2
import pytest


@pytest.fixture
def photographs(faces: Path, tmp_path: Path) -> Path:
    """Three photographs of different sizes and formats."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    first, second, third = sorted((faces / "images").iterdir())[:3]
    shutil.copy(first, folder / "a.jpg")
    cv2.imwrite(str(folder / "b.PNG"), cv2.resize(cv2.imread(str(second)), (50, 90)))  # type: ignore[arg-type]
    cv2.imwrite(str(folder / "c.bmp"), cv2.resize(cv2.imread(str(third)), (120, 40)))  # type: ignore[arg-type]
    (folder / "notes.txt").write_text("not a photograph")
    return folder
