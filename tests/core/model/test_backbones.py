"""Backbones from elsewhere: four maps from fine to coarse, or one line why not."""

import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from faceparse.core.errors import SettingsError
from faceparse.core.model.backbones import Backbone, timm_backbone
from faceparse.core.model.build import build_model
from faceparse.core.model.mobilenet import mobilenet_v2
from faceparse.core.settings import ModelSettings

SIZE = (96, 160)
CAN_DILATE = ["mobilenetv3_small_050", "convnext_atto", "efficientnet_lite0", "resnet18", "regnety_002"]
CANNOT = ["pvt_v2_b0", "swin_tiny_patch4_window7_224", "edgenext_xx_small"]


def maps_of(backbone: Backbone, image: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return list(backbone.network.eval()(image))


def shapes(channels: list[int], strides: tuple[int, ...]) -> list[tuple[int, ...]]:
    height, width = SIZE
    return [(2, c, height // stride, width // stride) for c, stride in zip(channels, strides, strict=True)]


def randomise(network: nn.Module) -> None:
    """Statistics of batch norm that a fresh network does not have."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.mark.parametrize("make", [mobilenet_v2, partial(timm_backbone, "timm:resnet18")], ids=["mobilenet", "timm"])
def test_a_dilated_network_computes_the_same_at_more_places(make: Callable[..., Backbone]) -> None:
    """Of its maps every second (1/16) or fourth (1/32) value in each direction is that of the strided network."""
    torch.manual_seed(0)
    strided, dilated = make(dilated=False), make(dilated=True)
    randomise(strided.network)
    dilated.network.load_state_dict(strided.network.state_dict())
    image = torch.randn(2, 3, *SIZE)
    for few, many, step in zip(maps_of(strided, image), maps_of(dilated, image), (1, 1, 2, 4), strict=True):
        torch.testing.assert_close(many[:, :, ::step, ::step], few, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*CAN_DILATE, *CANNOT])
@pytest.mark.parametrize("heads", ["light", "paper"])
def test_a_network_of_timm_carries_either_heads(name: str, heads: str) -> None:
    model = build_model(ModelSettings(backbone=f"timm:{name}", heads=heads), 5).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        found = model.backbone(torch.randn(2, 3, *SIZE))
        output = model(torch.randn(2, 3, *SIZE))
    fine = heads == "paper" and name in CAN_DILATE
    strides = (4, 8, 8, 8) if fine else (4, 8, 16, 32)
    assert [tuple(x.shape) for x in found] == shapes([x.shape[1] for x in found], strides)
    assert output.parsing.shape == (2, 5, SIZE[0] // 4, SIZE[1] // 4)
    assert output.edge.shape == (2, 2, SIZE[0] // 4, SIZE[1] // 4)
    assert output.parsing.isfinite().all()


def test_channels_are_those_of_the_maps_also_where_timm_puts_them_last() -> None:
    for name in ("swin_tiny_patch4_window7_224", "pvt_v2_b0"):
        backbone = timm_backbone(f"timm:{name}")
        assert [x.shape[1] for x in maps_of(backbone, torch.randn(1, 3, *SIZE))] == backbone.channels


def refusal(name: str) -> str:
    with pytest.raises(SettingsError) as caught:
        timm_backbone(name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_network_without_a_pyramid_is_refused_with_some_that_have_one() -> None:
    assert refusal("timm:vit_tiny_patch16_224") == (
        "model.backbone = 'timm:vit_tiny_patch16_224': has no map at 1/4, only at 1/16; "
        "take one such as timm:mobilenetv3_large_100, timm:convnext_atto or timm:pvt_v2_b0"
    )


def test_those_that_are_named_have_a_pyramid() -> None:
    for name in ("mobilenetv3_large_100", "convnext_atto", "pvt_v2_b0"):
        assert len(timm_backbone(f"timm:{name}").channels) == 4


def test_an_unknown_network_is_answered_with_the_nearest() -> None:
    assert refusal("timm:convnext_ato") == (
        "model.backbone = 'timm:convnext_ato': timm knows no such network; did you mean 'timm:convnext_atto'?"
    )


def test_without_timm_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert refusal("timm:convnext_atto") == (
        "model.backbone = 'timm:convnext_atto': timm is not installed; "
        "pip install timm, or use mobilenet_v2 or a ResNet"
    )
