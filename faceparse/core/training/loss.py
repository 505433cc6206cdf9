"""The loss of EAGRNet (paper section 3.5): parsing, edge and boundary-attention cross-entropy.

No term reads a value back to the host: the loss can be queued on a GPU without waiting.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.labels import IGNORE
from faceparse.core.model.parsing import Output


class LossTerms(NamedTuple):
    """Scalars on the logits' device; `total` is weighted and carries the gradient."""

    total: Tensor
    parsing: Tensor
    edge: Tensor
    boundary_attention: Tensor


def count_pixels(label: Tensor, edge: Tensor) -> Tensor:
    """What the terms are means over, 4 int64: labelled pixels, edge pixels, all pixels, images.

    Summed over the processes of a run, they make the losses of all processes add up to that of one large batch.
    """
    sizes = [edge.new_full((), size) for size in (edge.numel(), len(edge))]
    return torch.stack([(label != IGNORE).sum(), edge.sum(), *sizes])


class EAGRNetLoss(nn.Module):
    """total = scale x (parsing x P + edge x E + boundary_attention x B)."""

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        parsing: float = 1.0,
        edge: float = 1.0,
        boundary_attention: float = 4.0,
        scale: float = 1.0,
        class_weights: Tensor | None = None,
    ) -> None:
        """
        Args:
            class_weights: one a class, on each pixel's part in P and B; the terms stay means over pixels. Weights w
                alone would make a network see rare classes where they are not. So the loss sees logits that are raised
                by log w, and what the network itself learns are plain probabilities p: the loss is least where
                softmax(logits + log w) is in proportion to w p (Menon et al., Logit adjustment, ICLR 2021).
        """
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.parsing = parsing
        self.edge = edge
        self.boundary_attention = boundary_attention
        self.scale = scale

    def forward(self, output: Output, label: Tensor, edge: Tensor, counts: Tensor | None = None) -> LossTerms:
        """label: N x H x W int64 ids, 255 ignored; edge: N x H x W int64, 1 at edges.

        Args:
            counts: as of `count_pixels`, of a larger batch that this one is a part of; the terms are then its share.
        """
        labelled, edges, pixels, images = count_pixels(label, edge) if counts is None else counts
        size = label.shape[-2:]
        parsing_logits = F.interpolate(output.parsing, size=size, mode="bilinear", align_corners=False)
        if self.class_weights is not None:
            parsing_logits = parsing_logits + self.class_weights.log().view(1, -1, 1, 1)
        per_pixel = F.cross_entropy(
            parsing_logits, label, weight=self.class_weights, ignore_index=IGNORE, reduction="none"
        )  # N x H x W
        # An all-ignored batch has no pixel to average over: 0, not NaN.
        parsing = per_pixel.sum() / labelled.clamp(min=1)

        edge_term = parsing.new_zeros(())
        if output.edge is not None:
            edge_term = _edge_term(output.edge, edge, edges, pixels)

        # The published code divides by zero for an image without edges; here that image contributes 0.
        positives = edge.sum(dim=(1, 2))  # N
        attention = ((per_pixel * edge).sum(dim=(1, 2)) / positives.clamp(min=1)).sum() / images

        total = self.scale * (self.parsing * parsing + self.edge * edge_term + self.boundary_attention * attention)
        return LossTerms(total, parsing.detach(), edge_term.detach(), attention.detach())


def _edge_term(logits: Tensor, edge: Tensor, edges: Tensor, pixels: Tensor) -> Tensor:
    """Cross-entropy in which each class weighs as much as the *other* is frequent, all over the batch."""
    logits = F.interpolate(logits, size=edge.shape[-2:], mode="bilinear", align_corners=False)
    share = edges / pixels
    weight = torch.stack([share, 1 - share]).to(logits.dtype)
    weighed = 2 * edges * (1 - share)  # the sum of the weights of all pixels; with one class only, 0
    return F.cross_entropy(logits, edge, weight=weight, reduction="sum") / weighed.clamp(min=1)
