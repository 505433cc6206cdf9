"""EAGRNet: edge-aware graph representation learning and reasoning (Te et al., ECCV 2020).

Shape legend: N batch, C channels, S state width, V vertices, h x w map size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.model.resnet import ConvNorm, resize


class PyramidPooling(nn.Module):
    """Context at several grid sizes, concatenated before the map itself (Zhao et al., PSPNet, CVPR 2017)."""

    def __init__(self, *, grids: Sequence[int], branches: Sequence[ConvNorm], fuse: ConvNorm) -> None:
        super().__init__()
        self.grids = tuple(grids)
        self.branches = nn.ModuleList(branches)
        self.fuse = fuse

    def forward(self, x: Tensor) -> Tensor:
        """N x C x h x w map -> a map of the same size with context."""
        pooled = [
            resize(branch(pool(x, grid)), x.shape[2:]) for grid, branch in zip(self.grids, self.branches, strict=True)
        ]
        return self.fuse(torch.cat([*pooled, x], dim=1))


def pool(x: Tensor, grid: int) -> Tensor:
    """N x C x h x w -> N x C x grid x grid: the mean of each cell. Cells overlap where the grid does not divide h or w.

    MPS has this kernel for sizes only that the grid divides; there it is a product with the cells' shares.
    """
    height, width = x.shape[2:]
    if x.device.type != "mps" or (height % grid == 0 and width % grid == 0):
        return F.adaptive_avg_pool2d(x, grid)
    return pool_by_product(x, grid)


def pool_by_product(x: Tensor, grid: int) -> Tensor:
    """As `pool`, on any device."""
    rows, columns = (_cells(side, grid).to(x.device, x.dtype) for side in x.shape[2:])
    return rows @ x @ columns.T


def _cells(side: int, grid: int) -> Tensor:
    """Share of each of `side` pixels in each cell: grid x side."""
    cells = torch.zeros(grid, side)
    for cell in range(grid):
        start, end = cell * side // grid, -(-(cell + 1) * side // grid)
        cells[cell, start:end] = 1 / (end - start)
    return cells


class EdgeHead(nn.Module):
    """Edge logits from the first three stages. All stages share one 3x3 convolution."""

    def __init__(self, *, project: Sequence[ConvNorm], predict: nn.Conv2d, fuse: nn.Conv2d) -> None:
        super().__init__()
        self.project = nn.ModuleList(project)
        self.predict = predict
        self.fuse = fuse

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps from fine to coarse -> N x 2 x h x w edge logits at the finest map's size."""
        size = maps[0].shape[2:]
        # The norm works in place on the convolution's output, a fresh tensor; the backbone's maps stay as they are.
        edges = [self.predict(project(x)) for project, x in zip(self.project, maps, strict=True)]
        return self.fuse(torch.cat([edges[0], *(resize(edge, size) for edge in edges[1:])], dim=1))


class GraphReasoning(nn.Module):
    """Reasoning over the vertices of a fully connected graph (paper eq. 5): N x S x V -> N x S x V."""

    def __init__(self, *, vertices: int, states: int) -> None:
        super().__init__()
        self.across_vertices = nn.Conv1d(vertices, vertices, 1)
        self.across_states = nn.Conv1d(states, states, 1, bias=False)

    def forward(self, graph: Tensor) -> Tensor:
        """N x S x V -> N x S x V."""
        mixed = self.across_vertices(graph.transpose(1, 2)).transpose(1, 2)
        return F.relu(self.across_states(mixed - graph))


class EdgeAwareGraph(nn.Module):
    """Pixels -> vertices anchored by edges -> reasoning -> pixels, added to the input (paper section 3.3)."""

    def __init__(self, *, channels: int, states: int, grid: int, norm: nn.Module) -> None:
        super().__init__()
        self.grid = grid
        self.state = nn.Conv2d(channels, states, 1)
        self.projection = nn.Conv2d(channels, states, 1)
        self.reasoning = GraphReasoning(vertices=grid * grid, states=states)
        self.expand = nn.Conv2d(states, channels, 1, bias=False)
        self.norm = norm

    def forward(self, x: Tensor, edge_logits: Tensor) -> Tensor:
        """Return N x C x h x w, as `x`.

        Args:
            x: N x C x h x w.
            edge_logits: N x 2 x any size, detached by the caller.
        """
        size = x.shape[2:]
        edge = F.interpolate(edge_logits, size=tuple(size), mode="nearest").softmax(dim=1)[:, 1:]
        state = self.state(x).flatten(2)  # N x S x hw
        projection = self.projection(x)  # N x S x h x w
        # The outer ring of the grid is dropped, so that anchors keep away from the border of the map.
        anchors = pool(projection * edge, self.grid + 2)[:, :, 1:-1, 1:-1].flatten(2)  # N x S x V
        # Softmax over the vertices: each pixel is divided among them.
        assignment = (anchors.transpose(1, 2) @ projection.flatten(2)).softmax(dim=1)  # N x V x hw
        vertices = state @ assignment.transpose(1, 2)  # N x S x V
        pixels = (self.reasoning(vertices) @ assignment).unflatten(2, tuple(size))  # N x S x h x w
        return x + self.norm(self.expand(pixels))


class Decoder(nn.Module):
    """Deep context and shallow detail -> parsing logits at 1/4 of the input size."""

    def __init__(self, *, deep: ConvNorm, shallow: ConvNorm, fuse: Sequence[ConvNorm], classify: nn.Conv2d) -> None:
        super().__init__()
        self.deep = deep
        self.shallow = shallow
        self.fuse = nn.Sequential(*fuse)
        self.classify = classify

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """Return N x classes x h x w logits, at the size of `shallow`."""
        context = resize(self.deep(deep), shallow.shape[2:])
        return self.classify(self.fuse(torch.cat([context, self.shallow(shallow)], dim=1)))


class EAGRNet(ParsingModel):
    """The network of the paper: N x 3 x H x W normalised images -> `Output`."""

    align_corners = True  # as in the published evaluation
    classifier = "decoder.classify"

    def __init__(
        self,
        *,
        backbone: nn.Module,
        pyramid: PyramidPooling,
        edge_head: EdgeHead,
        deep_graph: EdgeAwareGraph,
        shallow_graph: EdgeAwareGraph,
        decoder: Decoder,
    ) -> None:
        super().__init__(backbone)
        self.pyramid = pyramid
        self.edge_head = edge_head
        self.deep_graph = deep_graph
        self.shallow_graph = shallow_graph
        self.decoder = decoder

    def forward(self, image: Tensor) -> Output:
        """Return parsing and edge logits at 1/4 of the input size."""
        maps: Sequence[Tensor] = self.backbone(image)
        pooled = self.pyramid(maps[3])
        edge = self.edge_head(maps[:3])
        hint = edge.detach()  # the parsing loss does not train the edge head
        deep = self.deep_graph(pooled, hint)
        shallow = self.shallow_graph(maps[0], hint)
        return Output(self.decoder(deep, shallow), edge)
