"""Translate between the released code's names for the tensors of an EAGRNet and ours."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.model.parsing import ParsingModel

CLASSIFIER = "layer6.conv4.weight"
"""Tensor by which a released file is recognised; its first axis is the classes."""


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are the released code's."""
    return CLASSIFIER in state


def from_released(key: str) -> str | None:
    """Our key for a released one; None for a key of another network."""
    module, _, leaf = key.rpartition(".")
    ours = _tables()[0].get(module)
    return None if ours is None else f"{ours}.{leaf}"


def to_released(key: str) -> str:
    """The released key for one of ours."""
    module, _, leaf = key.rpartition(".")
    return f"{_tables()[1].get(module, module)}.{leaf}"


def under_our_names(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released state under our key names.

    Raises:
        CheckpointError: a key is of another network.
    """
    renamed = {}
    for key, tensor in state.items():
        ours = from_released(key)
        if ours is None:
            raise CheckpointError(f"{path}: unknown key {key!r}; the file is of another network")
        renamed[ours] = tensor
    return renamed


def released_state(model: ParsingModel) -> dict[str, Tensor]:
    """The network's state under the released key names."""
    return {to_released(key): tensor for key, tensor in model.state_dict().items()}


@cache
def _tables() -> tuple[dict[str, str], dict[str, str]]:
    names = dict(_names())
    return names, {ours: theirs for theirs, ours in names.items()}


def _names() -> Iterator[tuple[str, str]]:
    """Yield (released module, our module): the only table between the released key names and ours."""
    for i in range(3):
        yield f"conv{i + 1}", f"backbone.stem.{i}.conv"
        yield f"bn{i + 1}", f"backbone.stem.{i}.norm"
        yield f"edge_layer.conv{i + 1}.0", f"edge_head.project.{i}.conv"
        yield f"edge_layer.conv{i + 1}.1", f"edge_head.project.{i}.norm"
    yield "edge_layer.conv4", "edge_head.predict"
    yield "edge_layer.conv5", "edge_head.fuse"
    for stage in range(4):
        for block in range(36):  # ResNet-152 has the longest stage
            theirs, ours = f"layer{stage + 1}.{block}", f"backbone.stages.{stage}.{block}"
            for i in range(3):
                yield f"{theirs}.conv{i + 1}", f"{ours}.body.{i}.conv"
                yield f"{theirs}.bn{i + 1}", f"{ours}.body.{i}.norm"
            yield f"{theirs}.downsample.0", f"{ours}.shortcut.conv"
            yield f"{theirs}.downsample.1", f"{ours}.shortcut.norm"
    for i in range(4):
        yield f"layer5.stages.{i}.1", f"pyramid.branches.{i}.conv"
        yield f"layer5.stages.{i}.2", f"pyramid.branches.{i}.norm"
    yield "layer5.bottleneck.0", "pyramid.fuse.conv"
    yield "layer5.bottleneck.1", "pyramid.fuse.norm"
    for theirs, ours in (("block1", "deep_graph"), ("block2", "shallow_graph")):
        yield f"{theirs}.conv_state", f"{ours}.state"
        yield f"{theirs}.conv_proj", f"{ours}.projection"
        yield f"{theirs}.gcn.conv1", f"{ours}.reasoning.across_vertices"
        yield f"{theirs}.gcn.conv2", f"{ours}.reasoning.across_states"
        yield f"{theirs}.conv_extend", f"{ours}.expand"
        yield f"{theirs}.blocker", f"{ours}.norm"
    for theirs, ours in (("conv1", "deep"), ("conv2", "shallow"), ("conv3", "fuse.0")):
        yield f"layer6.{theirs}.0", f"decoder.{ours}.conv"
        yield f"layer6.{theirs}.1", f"decoder.{ours}.norm"
    yield "layer6.conv3.2", "decoder.fuse.1.conv"
    yield "layer6.conv3.3", "decoder.fuse.1.norm"
    yield "layer6.conv4", "decoder.classify"
