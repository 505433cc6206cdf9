"""Choose the device to compute on."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from faceparse.core.errors import DeviceError, ResourceError
from faceparse.core.machine.distributed import is_joined

NAMES = "auto, cpu, cuda, cuda:N, mps"
"""Names of devices, as errors and help list them."""

_CPU_INFO = Path("/proc/cpuinfo")
"""Facts about the processor; Linux alone has this file."""


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Device from `check_device`. A GPU becomes the current one."""
    device = check_device(name, local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # inplace-abn runs on the current device, wherever its tensors are
    return device


def check_device(name: str, local_rank: int = 0) -> torch.device:
    """Device for `auto`, `cpu`, `cuda`, `cuda:N` or `mps`, which must exist.

    `auto` is the first GPU of CUDA, else the CPU. MPS (Apple's GPU) is taken by name only: nothing here was tried on a
    Mac, and PyTorch has open reports of wrong numbers there.

    Args:
        local_rank: number of this process on this machine. `auto` and `cuda` give each process a GPU of its own;
            `cuda:N,N,...` gives them in that order.

    Raises:
        DeviceError: the name is none of these, or this machine does not have the device.
    """
    if not isinstance(name, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+(,\d+)*)?", name):
        raise DeviceError(f"device {name!r}: not one of {NAMES}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "mps":
        if problem := _mps_problem():
            raise DeviceError(f"device 'mps': {problem}")
        return torch.device("mps")
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


def _mps_problem() -> str:
    """Why this process cannot use MPS; empty where it can."""
    if not torch.backends.mps.is_available():
        return "this torch finds no GPU of Apple's here; use --device cpu, or see 'faceparse doctor'"
    if is_joined():
        return "it takes one training process; leave --processes and --nodes out, or use --device cpu"
    return ""


def named_gpus(name: str) -> list[int]:
    """Numbers in `cuda:0,1`; empty for any other name."""
    return [int(number) for number in name.removeprefix("cuda:").split(",")] if name.startswith("cuda:") else []


def copy_to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device. A CUDA GPU is not waited for.

    MPS is: there PyTorch may read the tensor after its memory was given back.
    """
    return tensor.to(device, non_blocking=device.type != "mps")


def float64_device(device: torch.device) -> torch.device:
    """Return the device itself where it computes in float64, else the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


def hardware_name(device: torch.device) -> str:
    """Name of the GPU or of the processor, as its maker calls it; the kind of processor where that is not known."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        said = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    named = re.search(r"^model name\s*: *(\S.*)$", said, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine() or "cpu"


@contextmanager
def full_memory_named(device: torch.device) -> Iterator[None]:
    """Turn PyTorch's error for full memory into ResourceError."""
    try:
        yield
    except RuntimeError as error:
        told = "can't allocate memory" in str(error) or "MPS backend out of memory" in str(error)
        if not isinstance(error, torch.OutOfMemoryError) and not told:
            raise
        gpu = device.type == "cuda"
        where = "this machine" if device.type == "cpu" else device
        raise ResourceError(
            f"the memory of {where} is full; lower train.batch_size (--batch-size), with train.accumulate for as many "
            "photographs an update, or data.input_size (--input-size)"
            + ("; speed.precision = 'bf16' or model.norm = 'inplace_abn' need less, too" if gpu else "")
        ) from None
