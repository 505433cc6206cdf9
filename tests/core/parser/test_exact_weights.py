"""Weights fit a network exactly, or the first that does not is named."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.checkpoint_file import load_model, read_checkpoint
from faceparse.core.parser.exact_weights import load_exactly
from faceparse.core.parser.initialise import initialise
from faceparse.core.parser.released_names import released_state
from tests.core.parser.small import CPU, SaveTensors, one_line, packed, small


def test_a_missing_key_is_named_as_the_file_names_it(stub: dict[str, Tensor], save_tensors: SaveTensors) -> None:
    del stub["layer3.22.bn2.running_var"], stub["edge_layer.conv4.bias"]
    checkpoint = read_checkpoint(save_tensors(stub))
    with pytest.raises(CheckpointError) as caught:
        load_model(checkpoint, CPU)
    message = one_line(caught.value, checkpoint.path)
    assert message.endswith("is missing (and 1 more); the file is of another network")
    assert "'layer3.22.bn2.running_var'" in message


def test_a_key_of_another_shape_is_named_as_the_file_names_it(save_tensors: SaveTensors) -> None:
    model = small()
    state = released_state(model)
    state["layer5.bottleneck.0.weight"] = torch.zeros(512, 1024, 1, 1)
    path = save_tensors(state)
    with pytest.raises(CheckpointError) as caught:
        initialise(model, path, "resnet18")
    message = one_line(caught.value, path)
    assert "key 'layer5.bottleneck.0.weight' has shape (512, 1024, 1, 1), the network (512, 1024, 3, 3)" in message
    assert "model.backbone" in message


def test_a_key_of_another_number_type_is_named(save_tensors: SaveTensors) -> None:
    model = small()
    state = released_state(model)
    state["layer5.bottleneck.0.weight"] = state["layer5.bottleneck.0.weight"].to(torch.bfloat16)
    path = save_tensors(state)
    with pytest.raises(CheckpointError) as caught:
        initialise(model, path, "resnet18")
    assert "key 'layer5.bottleneck.0.weight' is bfloat16, the network float32; " in one_line(caught.value, path)


def test_a_refused_file_leaves_the_network_as_it_was(own: tuple[EAGRNet, Path]) -> None:
    model = small(classes=6)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_exactly(model, read_checkpoint(own[1]).weights, own[1])
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_our_keys_are_named_as_our_file_names_them(save_tensors: SaveTensors) -> None:
    content = packed(small())
    del content["model"]["pyramid.fuse.conv.weight"]  # type: ignore[attr-defined]
    path = save_tensors(content)
    with pytest.raises(CheckpointError, match=r"key 'pyramid\.fuse\.conv\.weight' is missing; "):
        initialise(small(), path, "resnet18")
