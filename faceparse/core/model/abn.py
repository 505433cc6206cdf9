"""Activated batch norm: the norm layer of the published network, in place or in plain PyTorch.

    y = leaky_relu((x - mean) / sqrt(var + eps) * (|gamma| + eps) + beta)

Note |gamma| + eps: a plain batch norm with the same gamma is wrong wherever gamma < 0.
(Rota Bulo et al., In-Place Activated BatchNorm, CVPR 2018.)
"""

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.errors import SettingsError, first_line

EPS = 1e-5
MOMENTUM = 0.1
SLOPE = 0.01

NormKind = Literal["auto", "inplace_abn", "torch"]
NormLayer = Callable[[int], nn.Module]


class ActivatedBatchNorm(nn.BatchNorm2d):
    """Exact twin of `InPlaceABN` in plain PyTorch: same state, same numbers, more memory. N x C x H x W -> the same.

    With a process group, the statistics in training are those of all processes.
    """

    inplace = True
    """Whether the activation overwrites what was normalised."""

    def __init__(self, channels: int, group: Any = None) -> None:
        super().__init__(channels, eps=EPS, momentum=MOMENTUM)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate."""
        scale = self.weight.abs() + EPS
        return F.leaky_relu(_batch_norm(self, x, scale, self.bias, self.group), SLOPE, self.inplace)


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm of a network from elsewhere, with the statistics of all processes in training.

    timm's norm layers also hold dropout and activation. They are kept.
    """

    @classmethod
    def like(cls, norm: nn.BatchNorm2d, group: Any) -> "SyncedBatchNorm":
        """Make a synced layer with the parameters, buffers and options of `norm`."""
        synced = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        synced._parameters, synced._buffers = norm._parameters, norm._buffers
        synced.group = group
        synced.drop, synced.act = (getattr(norm, part, nn.Identity()) for part in ("drop", "act"))
        return synced.train(norm.training)

    group: Any
    drop: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over all processes, then drop out and activate."""
        return self.act(self.drop(_batch_norm(self, x, self.weight, self.bias, self.group)))


def synchronise(module: nn.Module, group: Any) -> None:
    """Replace all plain batch norms inside `module`, so that they take statistics over the processes of `group`."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SyncedBatchNorm.like(child, group))
        else:
            synchronise(child, group)


def _batch_norm(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor | None, bias: Tensor | None, group: Any) -> Tensor:
    """Batch norm with the state of `norm`; in training over all processes of `group`, if there is one."""
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = MOMENTUM if norm.momentum is None else norm.momentum
    if norm.training and group is not None:
        assert weight is not None and bias is not None
        synced: Tensor = _SyncBatchNorm.apply(
            x, weight, bias, norm.running_mean, norm.running_var, norm.eps, momentum, group
        )
        return synced
    return F.batch_norm(x, norm.running_mean, norm.running_var, weight, bias, norm.training, momentum, norm.eps)


class _SyncBatchNorm(torch.autograd.Function):
    """Batch norm over the batches of all processes, which must have the same shape.

    One message forward (mean and variance of every channel) and one backward (two sums). PyTorch's own layer runs on
    GPUs only, and there it makes the host wait for the GPU in every layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        eps: float,
        momentum: float,
        group: Any,
    ) -> Tensor:
        world = dist.get_world_size(group)
        count = world * x.numel() // x.shape[1]
        local = torch.stack(torch.var_mean(x.to(running_mean.dtype), dim=(0, 2, 3), correction=0))  # 2 x C
        parts = [torch.empty_like(local) for _ in range(world)]
        dist.all_gather(parts, local, group=group)
        variances, means = torch.stack(parts, dim=1)  # each R x C
        mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (count / (count - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.group, ctx.count, ctx.eps = group, count, eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        # First the gradient as if mean and variance were constants ...
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(memory_format=_format(x)), x, weight, mean, var, None, None, False, ctx.eps, [True] * 3
        )
        # ... then the gradient through mean and variance, over all processes.
        sums = torch.stack([d_weight, d_bias])
        dist.all_reduce(sums, group=ctx.group)
        inverse = (var + ctx.eps).rsqrt()
        slope = -weight * inverse**2 * sums[0] / ctx.count
        offset = -weight * inverse * sums[1] / ctx.count - slope * mean
        dx += (x * _channels(slope) + _channels(offset)).to(dx.dtype)
        return dx, d_weight, d_bias, None, None, None, None, None


def _channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _format(x: Tensor) -> torch.memory_format:
    nhwc = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if nhwc else torch.contiguous_format


def inplace_abn_problem(device: torch.device | str = "cpu") -> str | None:
    """Reason why `inplace_abn` cannot be used on `device`; None where it can."""
    if importlib.util.find_spec("inplace_abn") is None:
        return "inplace-abn is not installed"
    try:
        from inplace_abn import InPlaceABN

        InPlaceABN(1).to(device)(torch.zeros(2, 1, 2, 2, device=device))
    except RuntimeError as error:  # built without CUDA, or for other GPUs
        return f"inplace-abn does not run on {device} ({first_line(error, 120)}); build it again on this machine"
    except (ImportError, OSError) as error:  # built for another torch
        return f"inplace-abn does not load ({error}); build it again with the torch that is installed"
    return None


def norm_layer(kind: NormKind, device: torch.device, group: Any = None) -> NormLayer:
    """Constructor of the norm layer. `auto` takes `inplace_abn` on a GPU where it works, else the twin.

    Args:
        group: processes whose batches count as one batch for the statistics; None for this process only.

    Raises:
        SettingsError: `inplace_abn` is set and cannot be used.
    """
    if kind == "torch" or (kind == "auto" and (device.type != "cuda" or inplace_abn_problem(device))):
        return lambda channels: ActivatedBatchNorm(channels, group)
    if problem := inplace_abn_problem(device):
        raise SettingsError(
            f"model.norm = 'inplace_abn': {problem}; use model.norm = 'auto' or install the extra 'inplace-abn'"
        )
    from inplace_abn import InPlaceABNSync

    def in_place(channels: int) -> nn.Module:
        return InPlaceABNSync(
            channels, eps=EPS, momentum=MOMENTUM, activation="leaky_relu", activation_param=SLOPE, group=group
        )

    return in_place
