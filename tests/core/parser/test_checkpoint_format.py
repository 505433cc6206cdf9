"""A checkpoint's content: plain, whole, and of this version."""

from pathlib import Path

import pytest
import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.parser.checkpoint_file import read_checkpoint
from tests.core.parser.small import SaveTensors, one_line, packed, small


def test_our_checkpoint_is_tensors_and_plain_containers(own: tuple[EAGRNet, Path]) -> None:
    content = torch.load(own[1], weights_only=True)  # as anyone may read it, without faceparse
    assert sorted(content) == sorted(
        ["format", "version", "settings", "label_set", "model", "epoch", "scores", "geometry", "run_id", "tracking_uri"]
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"version": 2}, "checkpoint version 2, this faceparse reads version 1"),
        ({"settings": {"model": {"backbon": "resnet18"}}}, "unknown setting 'model.backbon'"),
        ({"settings": {"data": {"input_size": [8192, 8192]}}}, "input should be less than or equal to 2048"),
        ({"label_set": {"name": "x", "side": "none", "classes": {"a": "#000000"}}}, "has 2 to 255 classes"),
    ],
)
def test_a_checkpoint_of_another_make_says_what_is_wrong(
    save_tensors: SaveTensors, change: dict[str, object], expected: str
) -> None:
    path = save_tensors({**packed(small()), "model": {}, **change})
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert expected in one_line(caught.value, path)


def test_a_checkpoint_without_one_of_its_parts_is_called_damaged(save_tensors: SaveTensors) -> None:
    content = {**packed(small()), "model": {}}
    del content["scores"]
    with pytest.raises(CheckpointError, match=r": damaged checkpoint, 'scores' is missing; copy it again$"):
        read_checkpoint(save_tensors(content))
