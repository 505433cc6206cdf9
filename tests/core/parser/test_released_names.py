"""The released code's names lead to ours and back."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.checkpoint_file import load_model, read_checkpoint
from faceparse.core.parser.released_names import released_state
from tests.core.parser.small import CPU, SaveTensors, one_line


def test_every_tensor_of_a_released_file_arrives_and_goes_back(released_file: Path, rebuilt: dict[str, Tensor]) -> None:
    checkpoint = read_checkpoint(released_file)
    assert (checkpoint.origin, len(checkpoint.weights)) == ("released", 740)
    assert checkpoint.label_set == get_label_set("helen")
    assert checkpoint.settings.data.channel_order == "bgr"
    assert checkpoint.settings.data.mean == (0.485, 0.456, 0.406)
    assert (checkpoint.settings.model.backbone, checkpoint.settings.model.stem) == ("resnet101", "deep")
    state = released_state(load_model(checkpoint, CPU))
    assert list(state) == list(rebuilt)
    assert all(torch.equal(state[key], tensor) for key, tensor in rebuilt.items())


def test_an_unknown_key_is_named_as_the_file_names_it(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    path = save_tensors({**stub, "layer7.conv1.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r": unknown key 'layer7\.conv1\.weight'; the file is of another network"):
        read_checkpoint(path)
    checkpoint = read_checkpoint(save_tensors({**stub, "conv1.bias": torch.zeros(1)}))
    with pytest.raises(CheckpointError) as caught:
        load_model(checkpoint, CPU)
    assert "unknown key 'conv1.bias'" in one_line(caught.value, checkpoint.path)
