"""Resolve the speed settings for this machine, and refuse combinations that cannot work."""

import shutil
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faceparse.core.errors import SettingsError
from faceparse.core.model.abn import NormKind
from faceparse.core.settings import Settings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Speed:
    """Speed settings as this machine runs them."""

    dtype: torch.dtype
    """Type of the forward and backward computations."""
    norm: NormKind
    channels_last: bool
    compile: bool

    def __str__(self) -> str:
        parts = [next(name for name, dtype in DTYPES.items() if dtype == self.dtype)]
        return ", ".join(parts + ["channels last"] * self.channels_last + ["compiled"] * self.compile)


def resolve_speed(settings: Settings, device: torch.device, processes: int = 1) -> Speed:
    """Speed settings with every `auto` decided for `device`.

    Raises:
        SettingsError: the combination cannot work on `device`.
    """
    speed, norm, gpu = settings.speed, settings.model.norm, device.type == "cuda"
    precision = speed.precision
    if device.type == "mps":
        return _on_mps(settings)
    if precision == "auto":
        native = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native and norm != "inplace_abn" else "fp32"
    if precision == "fp16" and not gpu:
        raise SettingsError("speed.precision = 'fp16': needs a GPU; use bf16 or fp32 on a CPU")
    if precision == "bf16" and gpu and not torch.cuda.is_bf16_supported():
        raise SettingsError("speed.precision = 'bf16': this GPU has no bf16; use fp16 or fp32")
    for what, chosen in (("speed.precision = 'bf16'", precision == "bf16"), ("speed.compile = true", speed.compile)):
        if chosen and norm == "inplace_abn":
            raise SettingsError(f"{what} and model.norm = 'inplace_abn': cannot go together; use model.norm = 'torch'")
    if processes > 1 and not gpu and norm == "inplace_abn":
        raise SettingsError(
            "model.norm = 'inplace_abn': synchronises over processes on GPUs only; use model.norm = 'torch'"
        )
    if speed.compile and not gpu and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise SettingsError("speed.compile = true: on a CPU it needs a C++ compiler (g++), and there is none")
    plain = precision == "bf16" or speed.compile
    return Speed(DTYPES[precision], "torch" if plain else norm, speed.channels_last, speed.compile)


def _on_mps(settings: Settings) -> Speed:
    """Speed settings of Apple's GPU: the plain ones, because nobody has tried the others there.

    Raises:
        SettingsError: another one is set.
    """
    speed, norm = settings.speed, settings.model.norm
    if speed.precision in ("bf16", "fp16"):
        raise SettingsError(f"speed.precision = {speed.precision!r}: not on mps; use fp32, or auto")
    if speed.compile:
        raise SettingsError("speed.compile = true: not on mps; leave it out")
    if norm == "inplace_abn":
        raise SettingsError("model.norm = 'inplace_abn': not on mps; use model.norm = 'torch'")
    return Speed(torch.float32, "torch", channels_last=False, compile=False)


class FloatConv2d(nn.Conv2d):
    """A convolution that stays in float32 under autocast."""

    @classmethod
    def like(cls, conv: nn.Conv2d) -> "FloatConv2d":
        """A `FloatConv2d` that shares the parameters and options of `conv`."""
        twin = cls.__new__(cls)
        twin.__dict__.update(conv.__dict__)
        return twin

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def keep_slow_in_float(model: nn.Module) -> None:
    """Keep strided depthwise convolutions in float32 on a CPU.

    A CPU has no bf16 kernel for their gradient: it is 2 to 30 times slower than in float32, and was a third of a light
    network's step.
    """
    for name, child in model.named_children():
        if type(child) is nn.Conv2d and child.groups > 1 and child.stride != (1, 1):
            setattr(model, name, FloatConv2d.like(child))
        else:
            keep_slow_in_float(child)
