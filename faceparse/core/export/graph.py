"""The graph of an exported file: the network alone, or all steps from a crop to its label map."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceparse.core.errors import CheckpointError, FaceparseError, first_line
from faceparse.core.images.crop import LARGEST, SMALLEST, STEP, normalise
from faceparse.core.images.warp import Size
from faceparse.core.model.eagrnet import EdgeAwareGraph
from faceparse.core.model.normalise import Normalise
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runtime.kinds import Kind, Sizes
from faceparse.core.runtime.onnx_model import INPUT, SURE, check_answer
from faceparse.core.settings import DataSettings

TensorFunction = Callable[[Tensor], Tensor]
"""A graph as its file computes it, on the device of its input."""
MakeInput = Callable[[Kind, DataSettings], nn.Module]
"""Makes the module that turns crops (N x H x W x 3 uint8 RGB) into the input of a graph."""

OUTPUT: dict[Kind, str] = {"logits": "parsing", "labels": "labels"}
MAX_BATCH = 64


@dataclass(frozen=True, eq=False)
class Graph:
    """A module in eval mode on the CPU, and a batch of two as an example of its input."""

    kind: Kind
    module: nn.Module
    example: Tensor
    sizes: Sizes = "fixed"
    why_fixed: str = ""
    """Why it takes one size only, where any size was wanted."""

    @cached_property
    def program(self) -> torch.export.ExportedProgram:
        """The exported program, with a dynamic batch; with dynamic sides where it takes any size."""
        shapes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}
        if self.sizes == "any":
            for axis, name in enumerate(("height", "width"), start=2 if self.kind == "logits" else 1):
                shapes[axis] = STEP * torch.export.Dim(name, min=SMALLEST // STEP, max=LARGEST // STEP)
        with _nothing_in_place(self.module):
            return torch.export.export(self.module, (self.example,), dynamic_shapes={INPUT: shapes}, strict=False)


@contextmanager
def _nothing_in_place(module: nn.Module) -> Iterator[None]:
    """Let activations make new tensors in this block. Exporters take operations in place apart, which takes long."""
    in_place: list[Any] = [part for part in module.modules() if getattr(part, "inplace", None) is True]
    for part in in_place:
        part.inplace = False
    try:
        yield
    finally:
        for part in in_place:
            part.inplace = True


def build_graph(network: ParsingNetwork, kind: Kind, sizes: Sizes = "fixed") -> Graph:
    """The graph of a network in eval mode on the CPU, at its input size. It shares the network's weights.

    Args:
        sizes: `any` is a wish. Only a light network can have it, and not every one.
    """
    example = torch.zeros(2, 3, *network.input_size)
    module: nn.Module = network.logits
    if kind == "labels":
        example, module = torch.zeros(2, *network.input_size, 3, dtype=torch.uint8), _Labels(network, sizes).eval()
    if sizes == "fixed":
        return Graph(kind, module, example)
    graph = Graph(kind, module, example, "any")
    if not (why := _why_fixed(network, graph)):
        return graph
    return replace(build_graph(network, kind), why_fixed=why)


def _why_fixed(network: ParsingNetwork, graph: Graph) -> str:
    """Why the network takes no other sizes than its own; empty where it does."""
    height, width = network.input_size
    if network.logits.model.align_corners:
        return "the paper's heads are for one size"  # the size of training: corners lie on corners
    if any(side % STEP or not SMALLEST <= side <= LARGEST for side in network.input_size):
        return f"{height} x {width} are not both multiples of {STEP} from {SMALLEST} to {LARGEST}"
    model = network.logits.model
    if any(isinstance(module, EdgeAwareGraph) for module in model.modules()):
        return "its graph's anchors are means over cells of one size"
    if getattr(model.backbone, "nhwc", False):
        return "its backbone is a window transformer"  # torch.export works on its sizes for many minutes
    try:
        model.backbone(torch.zeros(1, 3, *another_size(network.input_size)))
        assert graph.program
    except Exception as error:  # networks that cannot do it, and torch.export, raise errors of many kinds
        return f"its backbone takes one size alone ({type(error).__name__})"
    return ""


def another_size(size: Size) -> Size:
    """A size of other proportions. A file of any size takes it as well as its own."""
    height, width = (
        side + more if side + more <= LARGEST else side - more
        for side, more in zip(size, (STEP, 2 * STEP), strict=True)
    )
    return height, width


class GraphInput(nn.Module):
    """Crops (N x H x W x 3 uint8 RGB) -> the input of a graph."""

    def __init__(self, kind: Kind, data: DataSettings) -> None:
        super().__init__()
        self.normalise = Normalise(data) if kind == "logits" else None

    def forward(self, crops: Tensor) -> Tensor:
        """Return the input of the graph."""
        return crops if self.normalise is None else self.normalise(crops).contiguous()


class ArrayInput(nn.Module):
    """The same as `GraphInput` in NumPy, as a server without PyTorch computes it.

    Both give the same labels, to the last pixel.
    """

    def __init__(self, kind: Kind, data: DataSettings) -> None:
        super().__init__()
        self._kind, self._data = kind, data

    def forward(self, crops: Tensor) -> Tensor:
        """Return the input of the graph."""
        if self._kind == "labels":
            return crops
        data = self._data
        arrays = normalise(crops.cpu().numpy(), bgr=data.channel_order == "bgr", mean=data.mean, std=data.std)
        return torch.from_numpy(arrays)


class GraphNetwork(nn.Module):
    """A graph as a `Network`. Where it answers with labels only, each label counts as certain."""

    def __init__(
        self,
        kind: Kind,
        run: TensorFunction,
        data: DataSettings,
        classes: int,
        graph_input: MakeInput = GraphInput,
        *,
        any_size: bool = False,
        largest_batch: int | None = None,
        source: str = "the graph",
    ) -> None:
        """Wrap a graph that `run` computes.

        Args:
            any_size: the graph takes any height and width that are multiples of 32.
            largest_batch: most crops that the graph takes at a time. Default: `MAX_BATCH`.
            source: name of the file in errors.
        """
        super().__init__()
        self._batch = min(largest_batch or MAX_BATCH, MAX_BATCH)
        self.input_size: Size = data.input_size
        self.input = graph_input(kind, data)
        self._kind, self._run, self._classes, self._source = kind, run, classes, source
        self.any_size = any_size

    def coarse(self, pictures: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB pictures -> N x C x H/4 x W/4 logits."""
        answer = self._answer(pictures)
        # Mean of the four middle pixels of each 4 x 4: a single one lies half a pixel off the middle.
        return torch.stack([self._logits(answer[..., y::4, x::4]) for y in (1, 2) for x in (1, 2)]).mean(dim=0)

    def forward(self, crops: Tensor) -> Tensor:
        """N x H x W x 3 uint8 RGB crops -> N x C x H x W logits."""
        return self._logits(self._answer(crops))

    def _answer(self, crops: Tensor) -> Tensor:
        """Run the graph in batches and check what it returns.

        Raises:
            CheckpointError: the graph cannot be run, or it answers in another form.
        """
        answers = [self._checked(part, self._call(self.input(part))) for part in crops.split(self._batch)]
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def _call(self, graph_input: Tensor) -> object:
        try:
            return self._run(graph_input)
        except (FaceparseError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the runtimes raise errors of many kinds
            raise CheckpointError(f"{self._source}: cannot be run ({first_line(error)}); export it again") from error

    def _checked(self, crops: Tensor, answer: object) -> Tensor:
        if not isinstance(answer, Tensor) or answer.is_floating_point() != (self._kind == "logits"):
            what = answer.dtype if isinstance(answer, Tensor) else type(answer).__name__
            raise CheckpointError(f"{self._source}: answers with {what} where {self._kind} should be; export it again")
        check_answer(self._source, self._kind, self._classes, crops.shape, answer.shape, lambda: int(answer.max()))
        return answer

    def _logits(self, answer: Tensor) -> Tensor:
        if self._kind == "labels":
            answer = SURE * F.one_hot(answer.long(), self._classes).permute(0, 3, 1, 2)
        return answer.float()


class _Labels(nn.Module):
    def __init__(self, network: ParsingNetwork, sizes: Sizes) -> None:
        super().__init__()
        self.network = network
        self._sizes = sizes

    def forward(self, image: Tensor) -> Tensor:
        whole = self.network.normalise
        normalise = whole.at_any_width if self._sizes == "any" else whole
        return self.network.logits(normalise(image)).argmax(dim=1).to(torch.uint8)
