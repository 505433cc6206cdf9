import pytest
import torch
from torch import Tensor, nn

from faceparse.core.export.graph import Graph


class _Small(nn.Module):
    """Enough of a network to be exported and quantised: convolution, norm, activation, convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.LeakyReLU(0.01), nn.Conv2d(16, 5, 3, padding=1)
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


@pytest.fixture(scope="package")
def graph() -> Graph:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Graph("logits", _Small().eval(), torch.zeros(2, 3, 24, 32))


@pytest.fixture(scope="package")
def images() -> Tensor:
    return torch.randn(5, 3, 24, 32, generator=torch.Generator().manual_seed(1))
