"""A small network's checkpoint, and a released file's keys."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.training.run_checkpoints import save
from tests.core.parser.small import packed, small


@pytest.fixture
def stub(rebuilt: dict[str, Tensor]) -> dict[str, Tensor]:
    """A released file's keys, with hardly any numbers: enough to be read, not to be loaded."""
    return {key: tensor.flatten()[:1].clone() for key, tensor in rebuilt.items()} | {
        "layer6.conv4.weight": torch.zeros(11, 256, 1, 1)
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[EAGRNet, Path]:
    """A network and its checkpoint. Not to be written to."""
    path = tmp_path_factory.mktemp("own") / "best.pth"
    model = small(norm="torch").eval()
    save(path, packed(model))
    return model, path
