"""Weights as a safetensors file: tensors and a text header. Nothing in it can be executed."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.parser.exact_weights import dtype_name

SAFETENSORS = ".safetensors"
_STORED = (torch.float16, torch.float32, torch.int64)
"""Number types that `faceparse export` writes: no two of the same width. A header that was edited to name another type
of that width would change every number and no shape."""


def pack_weights(weights: Mapping[str, Tensor], metadata: Mapping[str, str], *, half: bool) -> bytes:
    """Content of a safetensors file.

    Args:
        half: store matrices and kernels in float16. Vectors stay as they are: they are few, and a norm's variances may
            be too small or too large for float16.
    """
    return safetensors.torch.save(
        {key: _stored(tensor, half=half) for key, tensor in weights.items()}, metadata=dict(metadata)
    )


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    shrinks = half and tensor.is_floating_point() and tensor.dim() > 1
    return (tensor.half() if shrinks else tensor).contiguous()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by key on the CPU, floats in float32.

    Raises:
        CheckpointError: not a safetensors file, a damaged one, or numbers of a type that is never exported.
    """
    try:
        stored = safetensors.torch.load_file(path)
    except Exception as error:  # safetensors raises errors of its own
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a safetensors file, or a damaged one ({reason}); copy or download it again"
        ) from None
    if foreign := next((key for key, tensor in stored.items() if tensor.dtype not in _STORED), None):
        raise CheckpointError(
            f"{path}: key {foreign!r} is {dtype_name(stored[foreign])}, which 'faceparse export' never writes; "
            "export the checkpoint again"
        )
    return {key: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for key, tensor in stored.items()}
