"""A parser that needs no training, and photographs for it."""

import shutil
from pathlib import Path

import cv2
import pytest
import torch

from faceparse.core.inference import Parser
from faceparse.core.model.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from tests.conftest import Bands


@pytest.fixture(scope="session")
def parser() -> Parser:
    """Eleven classes from dark to bright."""
    return Parser(ParsingNetwork(Bands(), DataSettings(input_size=(64, 64))), torch.device("cpu"))  # type: ignore[arg-type]


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
