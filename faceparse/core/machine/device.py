"""Choose the device to compute on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from faceparse.core.errors import DeviceError, ResourceError


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Device from `check_device`. A GPU becomes the current one."""
    device = check_device(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # inplace-abn runs on the current device, wherever its tensors are
    return device


def check_device(name: str, local_rank: int = 0) -> torch.device:
    """Device for `auto`, `cpu`, `cuda` or `cuda:N`, which must exist.

    Args:
        local_rank: number of this process on this machine. `auto` and `cuda` give each process a GPU of its own;
            `cuda:N,N,...` gives them in that order.

    Raises:
        DeviceError: the name is none of these, or this machine does not have the GPU.
    """
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|cuda(:\d+(,\d+)*)?", name):
        raise DeviceError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    named = named_gpus(name)
    if named and local_rank >= len(named):
        raise DeviceError(f"{name}: names {len(named)} GPUs, but there are more processes on this machine; use cuda")
    index = named[local_rank] if named else local_rank
    if index >= count:
        there = f"GPUs here: {', '.join(map(str, range(count)))}" if count else "there is no GPU here"
        raise DeviceError(f"GPU {index} was asked for, but {there}; use --device cpu, or see 'faceparse doctor'")
    return torch.device("cuda", index)


def named_gpus(name: str) -> list[int]:
    """Numbers in `cuda:0,1`; empty for any other name."""
    return [int(number) for number in name.removeprefix("cuda:").split(",")] if name.startswith("cuda:") else []


@contextmanager
def full_memory_named(device: torch.device) -> Iterator[None]:
    """Turn PyTorch's error for full memory into ResourceError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        gpu = device.type == "cuda"
        raise ResourceError(
            f"the memory of {device if gpu else 'this machine'} is full; lower train.batch_size (--batch-size), with "
            "train.accumulate for as many photographs an update, or data.input_size (--input-size)"
            + ("; speed.precision = 'bf16' or model.norm = 'inplace_abn' need less, too" if gpu else "")
        ) from None
