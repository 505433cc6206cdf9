"""What an exported file computes: the network alone, or all that lies between a crop and its label map."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceparse.core.data.dataset import Normalise
from faceparse.core.geometry import Size
from faceparse.core.model.trained import ParsingNetwork
from faceparse.core.preprocessing import normalise
from faceparse.core.serving.onnx_model import Kind
from faceparse.core.settings import DataSettings

Run = Callable[[Tensor], Tensor]
"""A graph as its file computes it, on whatever device its input is."""
MakeInput = Callable[[Kind, DataSettings], nn.Module]
"""Gives what turns crops (N x H x W x 3 uint8 RGB) into the input of a graph."""

OUTPUT: dict[Kind, str] = {"logits": "parsing", "labels": "labels"}
MAX_BATCH = 64


@dataclass(frozen=True, eq=False)
class Graph:
    """A module in eval mode on the CPU, and a batch of two as an example of its input."""

    kind: Kind
    module: nn.Module
    example: Tensor


def build_graph(network: ParsingNetwork, kind: Kind) -> Graph:
    """Of a network in eval mode on the CPU, whose weights it shares; at its input size."""
    if kind == "logits":
        return Graph(kind, network.logits, torch.zeros(2, 3, *network.input_size))
    return Graph(kind, _Labels(network).eval(), torch.zeros(2, *network.input_size, 3, dtype=torch.uint8))


class GraphInput(nn.Module):
    """Crops (N x H x W x 3 uint8 RGB) -> the input of a graph."""

    def __init__(self, kind: Kind, data: DataSettings) -> None:
        super().__init__()
        self.normalise = Normalise(data) if kind == "logits" else None

    def forward(self, crops: Tensor) -> Tensor:
        return crops if self.normalise is None else self.normalise(crops).contiguous()


class ArrayInput(nn.Module):
    """The same in NumPy, as a server without PyTorch computes it: both give the same labels, to the last pixel."""

    def __init__(self, kind: Kind, data: DataSettings) -> None:
        super().__init__()
        self._kind, self._data = kind, data

    def forward(self, crops: Tensor) -> Tensor:
        if self._kind == "labels":
            return crops
        data = self._data
        arrays = normalise(crops.cpu().numpy(), bgr=data.channel_order == "bgr", mean=data.mean, std=data.std)
        return torch.from_numpy(arrays)


class GraphNetwork(nn.Module):
    """A graph as a `Network`. One that answers with labels alone is as sure of each as can be."""

    def __init__(
        self,
        kind: Kind,
        run: Run,
        data: DataSettings,
        classes: int,
        graph_input: MakeInput = GraphInput,
        *,
        any_size: bool = False,
    ) -> None:
        """`any_size`: the graph takes any height and width that are multiples of 32."""
        super().__init__()
        self.input_size: Size = data.input_size
        self.input = graph_input(kind, data)
        self._kind, self._run, self._classes = kind, run, classes
        self.any_size = any_size

    def coarse(self, pictures: Tensor) -> Tensor:
        return self(pictures)[:, :, 1::4, 1::4]

    def forward(self, crops: Tensor) -> Tensor:
        answer = torch.cat([self._run(self.input(part)) for part in crops.split(MAX_BATCH)])
        if self._kind == "labels":
            answer = F.one_hot(answer.long(), self._classes).permute(0, 3, 1, 2)
        return answer.float()


class _Labels(nn.Module):
    def __init__(self, network: ParsingNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).argmax(dim=1).to(torch.uint8)
