"""The loss of EAGRNet (paper section 3.5): parsing, edge and boundary-attention cross-entropy.

No term reads a value back to the host: the loss can be queued on a GPU without waiting.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.labels import IGNORE
from faceparse.core.model.eagrnet import Output


class LossTerms(NamedTuple):
    """Scalars on the logits' device; `total` is weighted and carries the gradient."""

    total: Tensor
    parsing: Tensor
    edge: Tensor
    boundary_attention: Tensor


class EAGRNetLoss(nn.Module):
    """total = scale x (parsing x P + edge x E + boundary_attention x B)."""

    def __init__(
        self, *, parsing: float = 1.0, edge: float = 1.0, boundary_attention: float = 4.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.parsing = parsing
        self.edge = edge
        self.boundary_attention = boundary_attention
        self.scale = scale

    def forward(self, output: Output, label: Tensor, edge: Tensor) -> LossTerms:
        """label: N x H x W int64 ids, 255 ignored; edge: N x H x W int64, 1 at edges."""
        size = label.shape[-2:]
        parsing_logits = F.interpolate(output.parsing, size=size, mode="bilinear", align_corners=False)
        edge_logits = F.interpolate(output.edge, size=size, mode="bilinear", align_corners=False)

        per_pixel = F.cross_entropy(parsing_logits, label, ignore_index=IGNORE, reduction="none")  # N x H x W
        # An all-ignored batch has no pixel to average over: 0, not NaN.
        parsing = per_pixel.sum() / (label != IGNORE).sum().clamp(min=1)

        positives = edge.sum(dim=(1, 2))  # N
        share = positives.sum() / edge.numel()
        # Each class weighs as much as the *other* is frequent; all over the batch.
        weight = torch.stack([share, 1 - share]).to(edge_logits.dtype)
        both = (share > 0) & (share < 1)
        # With one class only, the weighted mean is 0 / 0. `where` after it would leave a NaN in the gradient.
        edge_term = F.cross_entropy(edge_logits, edge, weight=torch.where(both, weight, torch.ones_like(weight)))
        edge_term = torch.where(both, edge_term, torch.zeros_like(edge_term))

        # The published code divides by zero for an image without edges; here that image contributes 0.
        attention = ((per_pixel * edge).sum(dim=(1, 2)) / positives.clamp(min=1)).mean()

        total = self.scale * (self.parsing * parsing + self.edge * edge_term + self.boundary_attention * attention)
        return LossTerms(total, parsing.detach(), edge_term.detach(), attention.detach())
