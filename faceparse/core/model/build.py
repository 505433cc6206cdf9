"""Build networks. All sizes of the heads and of the ResNets stand here and nowhere else."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from faceparse.core.model.abn import NormLayer, norm_layer, synchronise
from faceparse.core.model.backbones import Backbone, timm_backbone
from faceparse.core.model.eagrnet import Decoder, EAGRNet, EdgeAwareGraph, EdgeHead, PyramidPooling
from faceparse.core.model.light import LeanPyramid, LightEAGRNet, LightEdgeHead, Separable, Surroundings
from faceparse.core.model.mobilenet import mobilenet_v2
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.model.resnet import (
    ConvNorm,
    Residual,
    ResNet,
    basic,
    bottleneck,
    deep_stem,
    torchvision_stem,
)
from faceparse.core.settings import ModelSettings


class _Depth(NamedTuple):
    block: Callable[..., Residual]
    expansion: int
    blocks: tuple[int, int, int, int]


RESNETS = {
    "resnet18": _Depth(basic, 1, (2, 2, 2, 2)),
    "resnet34": _Depth(basic, 1, (3, 4, 6, 3)),
    "resnet50": _Depth(bottleneck, 4, (3, 4, 6, 3)),
    "resnet101": _Depth(bottleneck, 4, (3, 4, 23, 3)),
}
WIDTHS = (64, 128, 256, 512)
DILATED = ((1, 1), (2, 1), (1, 1), (1, 2))  # stride and dilation of the four stages: maps at 1/4, 1/8, 1/8, 1/8
STRIDED = ((1, 1), (2, 1), (2, 1), (2, 1))  # maps at 1/4, 1/8, 1/16, 1/32
STEMS = {"deep": (deep_stem, 128), "torchvision": (torchvision_stem, 64)}

GRIDS = (1, 2, 3, 6)  # pyramid pooling
POOLED = 512  # channels of the pooled map
EDGE = 256
VERTEX_GRID = 4  # 4 x 4 = 16 vertices
DEEP_STATES, SHALLOW_STATES = 128, 64
DECODER, DETAIL = 256, 48

LIGHT = 96  # channels of the lean pyramid
LIGHT_EDGE = 32
LIGHT_STATES = 32
LIGHT_SURROUNDINGS = 2  # blocks on the coarsest map


def build_model(
    settings: ModelSettings, num_classes: int, device: torch.device | None = None, group: Any = None
) -> ParsingModel:
    """Build a network with fresh weights, in train mode, on `device` (default: the CPU).

        model = build_model(ModelSettings(backbone="mobilenet_v2"), num_classes=11)

    Args:
        group: processes that batch norm synchronises over in training; None for this process only.

    Raises:
        SettingsError: the norm layer or the backbone that is set is not installed, or cannot be used here.
    """
    device = device or torch.device("cpu")
    norm = norm_layer(settings.norm, device, group)
    backbone = _build_backbone(settings, norm)
    if group is not None and settings.backbone not in RESNETS:
        synchronise(backbone.network, group)
    heads = light_heads if settings.light else paper_heads
    options = {"graph": settings.graph} if settings.light else {}
    return heads(backbone, num_classes, norm, **options).to(device)


def paper_heads(backbone: Backbone, num_classes: int, norm: NormLayer) -> EAGRNet:
    """The published heads on a backbone's four maps."""
    channels = backbone.channels
    shallow, context = channels[0], channels[3]
    return EAGRNet(
        backbone=backbone.network,
        pyramid=PyramidPooling(
            grids=GRIDS,
            branches=[ConvNorm(norm, context, context // len(GRIDS), 1) for _ in GRIDS],
            fuse=ConvNorm(norm, context // len(GRIDS) * len(GRIDS) + context, POOLED, 3),
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


def light_heads(
    backbone: Backbone,
    num_classes: int,
    norm: NormLayer,
    *,
    edge_head: bool = True,
    graph: bool = False,
    surroundings: int = LIGHT_SURROUNDINGS,
) -> LightEAGRNet:
    """The light heads on a backbone's four maps. Without `edge_head`, a graph has no anchors and is left out, too."""
    channels = backbone.channels
    join = LIGHT + LIGHT_EDGE if edge_head else LIGHT
    return LightEAGRNet(
        backbone=backbone.network,
        pyramid=LeanPyramid(
            project=[
                *(ConvNorm(norm, c, LIGHT, 1) for c in channels[:-1]),
                nn.Sequential(
                    ConvNorm(norm, channels[-1], LIGHT, 1),
                    *(Surroundings(norm, LIGHT, hidden=2 * LIGHT) for _ in range(surroundings)),
                ),
            ],
            context=nn.Conv2d(LIGHT, LIGHT, 1),
            refine=[Separable(norm, LIGHT, LIGHT) for _ in channels],
            graph=EdgeAwareGraph(channels=LIGHT, states=LIGHT_STATES, grid=VERTEX_GRID, norm=norm(LIGHT))
            if graph and edge_head
            else None,
        ),
        edge_head=LightEdgeHead(
            project=[nn.Conv2d(c, LIGHT_EDGE, 1) for c in channels[:3]],
            fuse=Separable(norm, LIGHT_EDGE, LIGHT_EDGE),
            predict=nn.Conv2d(LIGHT_EDGE, 2, 1),
        )
        if edge_head
        else None,
        fuse=[Separable(norm, join, LIGHT), Separable(norm, LIGHT, LIGHT)],
        classify=nn.Conv2d(LIGHT, num_classes, 1),
    )


def _build_backbone(settings: ModelSettings, norm: NormLayer) -> Backbone:
    dilated = not settings.light  # the paper's heads need fine maps; the light heads use coarse ones, too
    if settings.backbone in RESNETS:
        return _resnet(settings, norm, dilated=dilated)
    if settings.backbone == "mobilenet_v2":
        return mobilenet_v2(dilated=dilated)
    return timm_backbone(settings.backbone, dilated=dilated)


def _resnet(settings: ModelSettings, norm: NormLayer, *, dilated: bool) -> Backbone:
    depth = RESNETS[settings.backbone]
    make_stem, c_in = STEMS[settings.stem]
    stages, channels = [], []
    plan = DILATED if dilated else STRIDED
    for blocks, width, (stride, dilation) in zip(depth.blocks, WIDTHS, plan, strict=True):
        first = depth.block(norm, c_in, width, stride=stride, dilation=dilation)
        c_in = width * depth.expansion
        rest = [depth.block(norm, c_in, width, stride=1, dilation=dilation) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(first, *rest))
        channels.append(c_in)
    return Backbone(ResNet(stem=make_stem(norm), stages=stages), channels)
