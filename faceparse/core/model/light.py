"""The light network: EAGRNet's edge head and boundary attention on a lean feature pyramid.

The paper's heads work at 1/8 of the input with up to 2048 channels. On a light backbone they would be most of
the network's cost, and small parts are lost at the backbone's stride of 32. Here a pyramid (Lin et al., FPN, CVPR 2017)
of depthwise separable convolutions joins the maps at 1/4 to 1/32. `benchmarks/accuracy.py` compares it with other
decoders and shows what each part is worth.

Shape legend: N batch, C channels, h x w size of the finest map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.model.abn import NormLayer
from faceparse.core.model.parsing import Output, ParsingModel


class Separable(nn.Sequential):
    """Depthwise 3 x 3, then 1 x 1 convolution (Howard et al., MobileNets, 2017), then activated batch norm."""

    def __init__(self, norm: NormLayer, c_in: int, c_out: int) -> None:
        super().__init__(
            nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in, bias=False),
            nn.Conv2d(c_in, c_out, 1, bias=False),
            norm(c_out),
        )


class Surroundings(nn.Module):
    """x + a wide depthwise window and two 1 x 1 convolutions of x (as in Liu et al., ConvNeXt, CVPR 2022).

    It works on the coarsest map, where it is cheap. There each place sees most of the face, which cloth, hats and hair
    need.
    """

    def __init__(self, norm: NormLayer, channels: int, *, window: int = 7, hidden: int) -> None:
        super().__init__()
        self.window = nn.Conv2d(channels, channels, window, padding=window // 2, groups=channels, bias=False)
        self.widen = nn.Sequential(nn.Conv2d(channels, hidden, 1, bias=False), norm(hidden))
        self.narrow = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return N x C x h x w, as `x`."""
        return x + self.narrow(self.widen(self.window(x)))


class LeanPyramid(nn.Module):
    """Four maps, from fine to coarse, -> one N x C x h x w map of the finest map's size."""

    def __init__(
        self, *, project: Sequence[nn.Module], context: nn.Module, refine: Sequence[nn.Module], graph: nn.Module | None
    ) -> None:
        """Take the layers.

        Args:
            project: one for each map, to C channels.
            context: N x C x 1 x 1 mean of the coarsest map -> a summand for all its pixels.
            refine: one for each map, on the sum at its size.
            graph: on the final sum (N x C x h x w, edge logits), or None.
        """
        super().__init__()
        self.project = nn.ModuleList(project)
        self.context = context
        self.refine = nn.ModuleList(refine)
        self.graph = graph

    def forward(self, maps: Sequence[Tensor], edge: Tensor | None) -> Tensor:
        """Return N x C x h x w. `edge`: N x 2 x h x w logits, detached by the caller."""
        *finer, x = [project(x) for project, x in zip(self.project, maps, strict=True)]
        x = x + self.context(x.mean(dim=(2, 3), keepdim=True))
        levels = [x]
        for lateral in reversed(finer):
            x = lateral + enlarge(x, lateral.shape[2:])
            levels.append(x)
        refined = [refine(level) for refine, level in zip(self.refine, reversed(levels), strict=True)]
        # From coarse to fine: each sum of coarser maps is enlarged once, by two.
        total = refined.pop()
        while refined:
            finer_map = refined.pop()
            total = finer_map + enlarge(total, finer_map.shape[2:])
        return total if self.graph is None else self.graph(total, edge)


class LightEdgeHead(nn.Module):
    """Edge features at the finest map's size from several maps, and edge logits from them."""

    def __init__(self, *, project: Sequence[nn.Module], fuse: nn.Module, predict: nn.Conv2d) -> None:
        super().__init__()
        self.project = nn.ModuleList(project)
        self.fuse = fuse
        self.predict = predict

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return features (N x E x h x w) and logits (N x 2 x h x w)."""
        first, *others = [project(x) for project, x in zip(self.project, maps, strict=False)]
        for other in others:
            first = first + enlarge(other, first.shape[2:])
        features = self.fuse(first)
        return features, self.predict(features)


class LightEAGRNet(ParsingModel):
    """The light network: N x 3 x H x W normalised images -> `Output`. Edge logits are None without an edge head."""

    align_corners = False  # so that a crop and a whole picture are enlarged alike
    classifier = "classify"

    def __init__(
        self,
        *,
        backbone: nn.Module,
        pyramid: LeanPyramid,
        edge_head: LightEdgeHead | None,
        fuse: Sequence[nn.Module],
        classify: nn.Conv2d,
    ) -> None:
        """Take the parts.

        Args:
            backbone: image -> four maps at 1/4, 1/8, 1/16 and 1/32.
            fuse: on the pyramid's map and the edge features, side by side.
        """
        super().__init__(backbone)
        self.pyramid = pyramid
        self.edge_head = edge_head
        self.fuse = nn.Sequential(*fuse)
        self.classify = classify

    def forward(self, image: Tensor) -> Output:
        """Return parsing and edge logits at 1/4 of the input size."""
        maps: Sequence[Tensor] = self.backbone(image)
        if self.edge_head is None:
            return Output(self.classify(self.fuse(self.pyramid(maps, None))), None)
        features, edge = self.edge_head(maps)
        pixels = self.pyramid(maps, edge.detach())  # as in the paper, the graph does not train the edge head
        return Output(self.classify(self.fuse(torch.cat([pixels, features], dim=1))), edge)


def enlarge(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Enlarge a map: bilinear, with the same shift of a quarter pixel at every place and for every size of picture."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
