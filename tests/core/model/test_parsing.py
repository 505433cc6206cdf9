"""How each kind of network enlarges its logits to the input's size."""

import numpy as np
import pytest
import torch

from faceparse.core.model.build import build_model
from faceparse.core.settings import ModelSettings

SETTINGS = {
    "paper": ModelSettings(backbone="resnet18", stem="torchvision"),
    "light": ModelSettings(backbone="mobilenet_v2"),
}


def enlarged(line: np.ndarray, size: int, *, align_corners: bool) -> np.ndarray:
    """A line of values at `size` places: between ends at the outer pixels' middles, or at their borders."""
    places = np.arange(size)
    count = len(line)
    at = places * (count - 1) / (size - 1) if align_corners else (places + 0.5) * count / size - 0.5
    return np.interp(at, np.arange(count), line)


@pytest.mark.parametrize("heads", SETTINGS)
def test_logits_are_enlarged_as_the_heads_were_trained(heads: str) -> None:
    torch.manual_seed(0)
    model = build_model(SETTINGS[heads], 5).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        found, quarter = model.parse(image)[0, 2].numpy(), model(image).parsing[0, 2].numpy()
    wide = np.stack([enlarged(row, 96, align_corners=heads == "paper") for row in quarter])
    expected = np.stack([enlarged(column, 64, align_corners=heads == "paper") for column in wide.T], axis=1)
    assert found.shape == (64, 96)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
