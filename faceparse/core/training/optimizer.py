"""Build the optimizer and its groups of weights."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from faceparse.core.model.parsing import ParsingModel
from faceparse.core.settings import OptimSettings


def make_optimizer(model: ParsingModel, settings: OptimSettings) -> Optimizer:
    """SGD over all weights as in the recipe, or AdamW without decay on norms and biases.

    With a learning rate of its own, the backbone has parameter groups of its own.
    """
    groups = _groups(model, settings)
    # On MPS the fused kernels do not promise to skip an update whose loss is not finite.
    fused = settings.fused and _device(model).type != "mps"
    if settings.name == "adamw":
        return AdamW(
            groups,
            lr=settings.lr,
            betas=(settings.momentum, 0.999),
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    return SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused)


def _device(model: ParsingModel) -> torch.device:
    return next(model.parameters()).device


def _groups(model: ParsingModel, settings: OptimSettings) -> list[dict[str, Any]]:
    """Parameter groups. Those of the heads come first, because the learning rate that is shown is the first group's."""
    backbone = {id(parameter) for parameter in model.backbone.parameters()}
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        apart = settings.backbone_lr is not None and id(parameter) in backbone
        plain = settings.name == "adamw" and parameter.ndim < 2
        parts.setdefault((apart, plain), []).append(parameter)
    return [
        {"params": parameters}
        | ({"lr": settings.backbone_lr} if apart else {})
        | ({"weight_decay": 0.0} if plain else {})
        for (apart, plain), parameters in sorted(parts.items(), key=lambda part: part[0])
    ]
