from math import ceil
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from faceparse.core.model.abn import ActivatedBatchNorm
from faceparse.core.model.build import build_model
from faceparse.core.model.resnet import Features, resize
from faceparse.core.parser.initialise import initialise
from faceparse.core.settings import ModelSettings

CHANNELS = {"resnet18": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}


@pytest.mark.parametrize("backbone", CHANNELS)
@pytest.mark.parametrize("stem", ["deep", "torchvision"])
@pytest.mark.parametrize("size", [(33, 47), (64, 50)], ids=str)
def test_maps_have_a_quarter_and_an_eighth_of_the_size_rounded_up(
    backbone: str, stem: str, size: tuple[int, int]
) -> None:
    network = build_model(ModelSettings(backbone=backbone, stem=stem), 3).backbone.eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        features = network(torch.randn(1, 3, *size))
    assert isinstance(features, Features)
    quarter = [ceil(ceil(side / 2) / 2) for side in size]
    eighth = [ceil(side / 2) for side in quarter]
    expected = [(1, c, *hw) for c, hw in zip(CHANNELS[backbone], (quarter, eighth, eighth, eighth), strict=True)]
    assert [tuple(x.shape) for x in features] == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_network_with_our_strides_and_norm_computes_the_same(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    reference = getattr(models, name)(norm_layer=ActivatedBatchNorm).eval()
    for module in reference.modules():
        if isinstance(module, ActivatedBatchNorm):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    for stage, dilation in ((reference.layer3, 1), (reference.layer4, 2)):
        for module in stage.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                if module.kernel_size == (3, 3):
                    module.dilation = module.padding = (dilation, dilation)
    torch.save(reference.state_dict(), tmp_path / "backbone.pth")

    model = build_model(ModelSettings(backbone=name, stem="torchvision", norm="torch"), 3).eval()  # type: ignore[arg-type]
    report = initialise(model, tmp_path / "backbone.pth", name)
    assert not report.skipped

    image = torch.randn(2, 3, 49, 64)
    with torch.inference_mode():
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        for stage, found in zip(("layer1", "layer2", "layer3", "layer4"), model.backbone(image), strict=True):
            x = getattr(reference, stage)(x)
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_resizing_keeps_the_corners() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    y = resize(x, (3, 5))
    expected = [[0, 0.5, 1, 1.5, 2], [1.5, 2, 2.5, 3, 3.5], [3, 3.5, 4, 4.5, 5]]
    torch.testing.assert_close(y[0, 0], torch.tensor(expected))
