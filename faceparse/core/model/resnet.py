"""ResNets with activated batch norm: four feature maps for the heads.

Shape legend: N batch, H x W input size. For the paper's heads, strides are 1, 2, 1, 1 and dilations 1, 1, 1, 2, so the
maps have 1/4, 1/8, 1/8 and 1/8 of the input size. For the light heads, strides are 1, 2, 2, 2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.model.abn import NormLayer


class ConvNorm(nn.Module):
    """Convolution without bias, then activated batch norm."""

    def __init__(
        self, norm: NormLayer, c_in: int, c_out: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=False)
        self.norm = norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise and activate."""
        return self.norm(self.conv(x))


class Residual(nn.Module):
    """Residual block of two (basic) or three (bottleneck) convolutions.

    The norm's activation stands on every branch, also **before** the addition. The stride is in the 3x3 convolution.
    """

    def __init__(self, body: Sequence[ConvNorm], shortcut: ConvNorm | None) -> None:
        super().__init__()
        self.body = nn.ModuleList(body)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's map."""
        *first, last = self.body
        residual = x if self.shortcut is None else self.shortcut(x)
        for layer in first:
            x = F.relu(layer(x))
        return F.relu(last(x) + residual)


def basic(norm: NormLayer, c_in: int, width: int, *, stride: int, dilation: int) -> Residual:
    """Block of two 3x3 convolutions, for ResNet-18 and 34."""
    body = (
        ConvNorm(norm, c_in, width, 3, stride=stride, dilation=dilation),
        ConvNorm(norm, width, width, 3, dilation=dilation),
    )
    return Residual(body, _shortcut(norm, c_in, width, stride))


def bottleneck(norm: NormLayer, c_in: int, width: int, *, stride: int, dilation: int) -> Residual:
    """Block of 1x1, 3x3 and 1x1 convolutions with 4 x `width` channels out, for ResNet-50 and 101."""
    body = (
        ConvNorm(norm, c_in, width, 1),
        ConvNorm(norm, width, width, 3, stride=stride, dilation=dilation),
        ConvNorm(norm, width, 4 * width, 1),
    )
    return Residual(body, _shortcut(norm, c_in, 4 * width, stride))


def _shortcut(norm: NormLayer, c_in: int, c_out: int, stride: int) -> ConvNorm | None:
    return None if stride == 1 and c_in == c_out else ConvNorm(norm, c_in, c_out, 1, stride=stride)


def deep_stem(norm: NormLayer) -> nn.ModuleList:
    """Three 3x3 convolutions, 128 channels at half size."""
    return nn.ModuleList([ConvNorm(norm, 3, 64, 3, stride=2), ConvNorm(norm, 64, 64, 3), ConvNorm(norm, 64, 128, 3)])


def torchvision_stem(norm: NormLayer) -> nn.ModuleList:
    """One 7x7 convolution, 64 channels at half size."""
    return nn.ModuleList([ConvNorm(norm, 3, 64, 7, stride=2)])


class Features(NamedTuple):
    """N x C x h x w maps of the four stages, from fine to coarse."""

    stage1: Tensor
    stage2: Tensor
    stage3: Tensor
    stage4: Tensor


class ResNet(nn.Module):
    """The backbone: N x 3 x H x W images -> `Features`."""

    def __init__(self, *, stem: nn.ModuleList, stages: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Features:
        """Return the maps of the four stages."""
        x = image
        for layer in self.stem:
            x = F.relu(layer(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return Features(*maps)


def resize(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Resize a map: bilinear, corners aligned, as the network does between its own maps."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
