"""Base class of all networks here: photographs -> parsing and edge logits, on a backbone.

Shape legend: N batch, C channels, H x W input size, h x w map size.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Output(NamedTuple):
    """Logits at 1/4 of the input size."""

    parsing: Tensor
    """Logits of the classes, N x classes x h x w."""
    edge: Tensor | None
    """Logits of edges, N x 2 x h x w; channel 1 is 'edge'. None where the network has no edge head."""


class ParsingModel(nn.Module, ABC):
    """N x 3 x H x W normalised images -> `Output`."""

    align_corners: bool
    """How parsing logits are enlarged to the input's size: see `torch.nn.functional.interpolate`."""
    classifier: str
    """Name of the layer that gives the logits. The first axis of its tensors is the classes."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, image: Tensor) -> Output:
        """Return logits at 1/4 of the input size."""

    def parse(self, image: Tensor) -> Tensor:
        """Return parsing logits at the input's own size: N x 3 x H x W -> N x classes x H x W."""
        size = image.shape[2:]
        return F.interpolate(self(image).parsing, size=tuple(size), mode="bilinear", align_corners=self.align_corners)
