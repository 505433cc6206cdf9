"""The one place where the network's sizes are written."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from faceparse.core.model.abn import NormLayer, norm_layer
from faceparse.core.model.eagrnet import Decoder, EAGRNet, EdgeAwareGraph, EdgeHead, PyramidPooling
from faceparse.core.model.resnet import ConvNorm, Residual, ResNet, basic, bottleneck, deep_stem, torchvision_stem
from faceparse.core.settings import ModelSettings


class _Depth(NamedTuple):
    block: Callable[..., Residual]
    expansion: int
    blocks: tuple[int, int, int, int]


BACKBONES = {
    "resnet18": _Depth(basic, 1, (2, 2, 2, 2)),
    "resnet34": _Depth(basic, 1, (3, 4, 6, 3)),
    "resnet50": _Depth(bottleneck, 4, (3, 4, 6, 3)),
    "resnet101": _Depth(bottleneck, 4, (3, 4, 23, 3)),
}
WIDTHS = (64, 128, 256, 512)
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 1, 2)
STEMS = {"deep": (deep_stem, 128), "torchvision": (torchvision_stem, 64)}

GRIDS = (1, 2, 3, 6)  # pyramid pooling
POOLED = 512  # channels of the pooled map
EDGE = 256
VERTEX_GRID = 4  # 4 x 4 = 16 vertices
DEEP_STATES, SHALLOW_STATES = 128, 64
DECODER, DETAIL = 256, 48


def build_model(
    settings: ModelSettings, num_classes: int, device: torch.device | None = None, group: Any = None
) -> EAGRNet:
    """An EAGRNet with fresh weights, in train mode, on `device` (default: the CPU).

    Args:
        group: processes that batch norm synchronises over in training; None for this one alone.

    Raises:
        SettingsError: the norm layer that was asked for is not installed.
    """
    device = device or torch.device("cpu")
    norm = norm_layer(settings.norm, device, group)
    backbone, channels = _build_backbone(settings, norm)
    shallow, context = channels[0], channels[3]
    model = EAGRNet(
        backbone=backbone,
        pyramid=PyramidPooling(
            grids=GRIDS,
            branches=[ConvNorm(norm, context, context // len(GRIDS), 1) for _ in GRIDS],
            fuse=ConvNorm(norm, 2 * context, POOLED, 3),
        ),
        edge_head=EdgeHead(
            project=[ConvNorm(norm, c, EDGE, 1) for c in channels[:3]],
            predict=nn.Conv2d(EDGE, 2, 3, padding=1),
            fuse=nn.Conv2d(6, 2, 1),
        ),
        deep_graph=EdgeAwareGraph(channels=POOLED, states=DEEP_STATES, grid=VERTEX_GRID, norm=norm(POOLED)),
        shallow_graph=EdgeAwareGraph(channels=shallow, states=SHALLOW_STATES, grid=VERTEX_GRID, norm=norm(shallow)),
        decoder=Decoder(
            deep=ConvNorm(norm, POOLED, DECODER, 1),
            shallow=ConvNorm(norm, shallow, DETAIL, 1),
            fuse=[ConvNorm(norm, DECODER + DETAIL, DECODER, 1), ConvNorm(norm, DECODER, DECODER, 1)],
            classify=nn.Conv2d(DECODER, num_classes, 1),
        ),
    )
    return model.to(device)


def _build_backbone(settings: ModelSettings, norm: NormLayer) -> tuple[ResNet, list[int]]:
    """The backbone and the channels of its four maps."""
    depth = BACKBONES[settings.backbone]
    make_stem, c_in = STEMS[settings.stem]
    stages, channels = [], []
    for blocks, width, stride, dilation in zip(depth.blocks, WIDTHS, STRIDES, DILATIONS, strict=True):
        first = depth.block(norm, c_in, width, stride=stride, dilation=dilation)
        c_in = width * depth.expansion
        rest = [depth.block(norm, c_in, width, stride=1, dilation=dilation) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(first, *rest))
        channels.append(c_in)
    return ResNet(stem=make_stem(norm), stages=stages), channels
