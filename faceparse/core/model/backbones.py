"""A network under the heads as they need it, and the feature networks of timm as such.

Each takes N x 3 x H x W images and returns its maps, from fine to coarse, as N x C x h x w.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import nearest
from faceparse.core.settings import TIMM

STRIDES = (4, 8, 16, 32)
"""Strides of the maps that the light heads use."""

EXAMPLES = "take one such as timm:mobilenetv3_large_100, timm:convnext_atto or timm:pvt_v2_b0"


class Backbone(NamedTuple):
    """A network that returns feature maps, and their channels."""

    network: nn.Module
    channels: list[int]
    """Channels of the maps, from fine to coarse."""


class TimmFeatures(nn.Module):
    """A feature network of timm that returns four of its maps."""

    def __init__(self, network: nn.Module, wanted: Sequence[int], *, nhwc: bool) -> None:
        """Choose the maps by `wanted`, their positions among the network's maps."""
        super().__init__()
        self.network = network
        self.wanted = tuple(wanted)
        self.nhwc = nhwc

    @property
    def strides(self) -> list[int]:
        """Strides of the chosen maps: pixels of the image along a side for one pixel of the map."""
        info: Any = self.network.feature_info
        return [info.reduction()[position] for position in self.wanted]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the chosen maps, N x C x h x w."""
        maps = self.network(image)
        chosen = [maps[position] for position in self.wanted]
        return [x.permute(0, 3, 1, 2).contiguous() for x in chosen] if self.nhwc else chosen


def timm_backbone(
    name: str, *, dilated: bool = False, weights: Mapping[str, Tensor] | None = None, pretrained: bool = False
) -> Backbone:
    """Build the feature network `name` of timm.

    Args:
        name: as in `model.backbone`, with `timm:` before it.
        dilated: no map coarser than 1/8, where the network can do that.
        weights: weights of the whole network, in place of fresh ones.
        pretrained: take timm's own weights, from its cache or the hub.

    Raises:
        SettingsError: timm is not installed, does not know the name, or the network lacks a map at 1/4, 1/8, 1/16 or
            1/32.
    """
    timm = _timm(name)
    plain = name.removeprefix(TIMM)
    if not timm.is_model(plain):
        close = nearest(plain.partition(".")[0], timm.list_models(), prefix=TIMM)
        raise SettingsError(f"model.backbone = {name!r}: timm knows no such network{close}")
    options: dict[str, Any] = {"pretrained": pretrained or weights is not None}
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
    network = _create(timm, plain, options | {"output_stride": STRIDES[1]}) if dilated else None
    network = network or _create(timm, plain, options)
    if network is None:
        raise SettingsError(f"model.backbone = {name!r}: gives no feature maps; {EXAMPLES}")
    wanted = _wanted(name, list(network.feature_info.reduction()))
    channels = list(network.feature_info.channels())
    nhwc = str(getattr(network, "output_fmt", "")).upper().endswith("NHWC")
    return Backbone(TimmFeatures(network, wanted, nhwc=nhwc), [channels[position] for position in wanted])


def _wanted(name: str, strides: list[int]) -> list[int]:
    """Positions of the maps to take: the last at each of `STRIDES`, or the last four of a dilated network."""
    if max(strides) == STRIDES[1] and strides[-4:] == [STRIDES[0], *[STRIDES[1]] * 3]:
        return list(range(len(strides) - 4, len(strides)))
    if missing := [stride for stride in STRIDES if stride not in strides]:
        has = ", ".join(f"1/{stride}" for stride in sorted(set(strides)))
        raise SettingsError(f"model.backbone = {name!r}: has no map at 1/{missing[0]}, only at {has}; {EXAMPLES}")
    last = {stride: position for position, stride in enumerate(strides)}
    return [last[stride] for stride in STRIDES]


def timm_preprocessing(name: str) -> dict[str, Any]:
    """Mean and std that timm's own weights of this network expect, with the keys of `data`."""
    config = _timm(name).get_pretrained_cfg(name.removeprefix(TIMM))
    return {"mean": tuple(config.mean), "std": tuple(config.std)} if config is not None else {}


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise SettingsError(
            f"model.backbone = {name!r}: timm is not installed; pip install timm, or use mobilenet_v2 or a ResNet"
        ) from None
    return timm


def _create(timm: Any, name: str, options: dict[str, Any]) -> Any:
    """The feature network, or None where timm cannot make one."""
    # Window transformers refuse other sizes than their own without this option; other networks do not know it.
    for extra in ({"strict_img_size": False}, {}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return timm.create_model(name, features_only=True, **options, **extra)
        except (TypeError, AttributeError, AssertionError, NotImplementedError, IndexError):
            continue
    return None
