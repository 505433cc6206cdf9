"""Which device to compute on."""

import re

import torch

from faceparse.core.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device that is really there.

    Raises:
        DeviceError: the name is another one, or a GPU was asked for that this machine has not.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise DeviceError(f"device {name!r}: not one of auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return torch.device("cpu")
    index = int(name.removeprefix("cuda").removeprefix(":") or 0) if name != "auto" else 0
    if index >= count:
        there = f"GPUs here: {', '.join(map(str, range(count)))}" if count else "there is no GPU here"
        raise DeviceError(f"GPU {index} was asked for, but {there}; use --device cpu, or see 'faceparse doctor'")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)  # inplace-abn launches on the current device, whatever its tensors' is
    return device
