"""Copy weights into the network that they fit exactly."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from faceparse.core.errors import CheckpointError
from faceparse.core.parser.released_names import to_released

State = Mapping[str, Tensor]
"""Tensors by key, as in a network's `state_dict()`."""


def load_exactly(model: nn.Module, weights: State, path: Path, *, released: bool = False) -> None:
    """Copy `weights` into `model`, which must have exactly these keys, shapes and number types.

    Args:
        released: name keys in errors as the released code does.

    Raises:
        CheckpointError: a key is missing, unknown, or of another shape or type.
    """
    expected = model.state_dict()
    name = (lambda key: to_released(key)) if released else (lambda key: key)
    if missing := [key for key in expected if key not in weights]:
        raise CheckpointError(
            f"{path}: key {name(missing[0])!r} is missing{_and_more(missing)}; the file is of another network"
        )
    if extra := [key for key in weights if key not in expected]:
        raise CheckpointError(
            f"{path}: unknown key {name(extra[0])!r}{_and_more(extra)}; the file is of another network"
        )
    if wrong := [key for key in expected if expected[key].shape != weights[key].shape]:
        found, wanted = tuple(weights[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise CheckpointError(
            f"{path}: key {name(wrong[0])!r} has shape {found}, the network {wanted}{_and_more(wrong)}; "
            "check the class count and model.backbone"
        )
    if odd := [key for key in expected if expected[key].dtype != weights[key].dtype]:
        raise CheckpointError(
            f"{path}: key {name(odd[0])!r} is {dtype_name(weights[odd[0]])}, the network "
            f"{dtype_name(expected[odd[0]])}{_and_more(odd)}; save the weights as the network has them"
        )
    model.load_state_dict(dict(weights))


def dtype_name(tensor: Tensor) -> str:
    """Name of a tensor's number type: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
