"""Activated batch norm: the published network's norm layer, in place or in plain PyTorch.

    y = leaky_relu((x - mean) / sqrt(var + eps) * (|gamma| + eps) + beta)

Note |gamma| + eps: a plain batch norm with the same gamma is wrong wherever gamma < 0.
(Rota Bulo et al., In-Place Activated BatchNorm, CVPR 2018.)
"""

import importlib.util
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.errors import SettingsError

EPS = 1e-5
MOMENTUM = 0.1
SLOPE = 0.01

NormKind = Literal["auto", "inplace_abn", "torch"]
NormLayer = Callable[[int], nn.Module]


class ActivatedBatchNorm(nn.BatchNorm2d):
    """The exact plain twin of `InPlaceABN`: same state, same numbers, more memory. N x C x H x W -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPS, momentum=MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        normed = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight.abs() + EPS,
            self.bias,
            self.training,
            MOMENTUM,
            EPS,
        )
        return F.leaky_relu(normed, SLOPE, inplace=True)


def inplace_abn_problem(device: torch.device | str = "cpu") -> str | None:
    """Why `inplace_abn` cannot be used on `device`, or None where it can."""
    if importlib.util.find_spec("inplace_abn") is None:
        return "inplace-abn is not installed"
    try:
        from inplace_abn import InPlaceABN

        InPlaceABN(1).to(device)(torch.zeros(2, 1, 2, 2, device=device))
    except RuntimeError as error:  # built without CUDA, or for other GPUs
        return (
            f"inplace-abn does not run on {device} ({str(error).splitlines()[0][:120]}); build it again on this machine"
        )
    except (ImportError, OSError) as error:  # built for another torch
        return f"inplace-abn does not load ({error}); build it again with the torch that is installed"
    return None


def norm_layer(kind: NormKind, device: torch.device) -> NormLayer:
    """The norm layer's constructor. `auto` takes `inplace_abn` on a GPU where it works, else the twin.

    Raises:
        SettingsError: `inplace_abn` was asked for and cannot be used.
    """
    if kind == "torch" or (kind == "auto" and (device.type != "cuda" or inplace_abn_problem(device))):
        return ActivatedBatchNorm
    if problem := inplace_abn_problem(device):
        raise SettingsError(
            f"model.norm = 'inplace_abn': {problem}; use model.norm = 'auto' or install the extra 'inplace-abn'"
        )
    from inplace_abn import InPlaceABNSync

    def in_place(channels: int) -> nn.Module:
        # Without a group it does not synchronise; distributed training gives it one.
        return InPlaceABNSync(
            channels, eps=EPS, momentum=MOMENTUM, activation="leaky_relu", activation_param=SLOPE, group=None
        )

    return in_place
