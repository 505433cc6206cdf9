"""Weights that anyone can rebuild by rule, from the names of their tensors alone; and a parser without training."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from tests.conftest import Bands

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def rebuild(key: str, shape: tuple[int, ...]) -> Tensor:
    """The tensor of that name; a quarter of the gammas are negative."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    random = np.random.Generator(np.random.PCG64(seed))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(7)
    if key.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean"):
        values = random.uniform(-0.2, 0.2, shape)
    elif len(shape) == 1 and key.endswith("weight"):
        values = random.uniform(0.5, 1.2, shape) * np.where(random.random(shape) < 0.25, -1, 1)
        values *= 0.15 if key.startswith("layer") and key.endswith("bn3.weight") else 1
    elif len(shape) == 1:
        values = random.uniform(-0.1, 0.1, shape)
    else:
        bound = np.sqrt(3 / np.prod(shape[1:]))
        values = random.uniform(-bound, bound, shape)
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def rebuilt(golden: Path) -> dict[str, Tensor]:
    """A released checkpoint's state dict. Not to be written to: 67 M numbers are made once."""
    shapes = json.loads((golden / "eagrnet_state_dict_11.json").read_text())
    return {key: rebuild(key, tuple(shape)) for key, shape in shapes.items()}


@pytest.fixture(scope="session")
def released_file(rebuilt: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file, as the released code writes it: a bare state dict."""
    path = tmp_path_factory.mktemp("released") / "released.pth"
    torch.save(rebuilt, path)
    return path


@pytest.fixture
def save_tensors(tmp_path: Path) -> Callable[..., Path]:
    """Write an object as a weights file."""

    def save(content: object, name: str = "weights.pth", **keywords: bool) -> Path:
        torch.save(content, tmp_path / name, **keywords)
        return tmp_path / name

    return save


@pytest.fixture(scope="session")
def parser() -> Parser:
    """Eleven classes from dark to bright."""
    return Parser(ParsingNetwork(Bands(), DataSettings(input_size=(64, 64))), torch.device("cpu"))  # type: ignore[arg-type]
