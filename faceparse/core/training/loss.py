"""The loss of EAGRNet (paper section 3.5): parsing, edge and boundary-attention cross-entropy, and Dice if wanted.

No term reads a value back to the host, so the loss can be queued on a GPU without waiting.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.labels.classes import IGNORE
from faceparse.core.model.parsing import Output


class LossTerms(NamedTuple):
    """Terms of the loss: scalars on the logits' device. `total` is weighted and carries the gradient."""

    total: Tensor
    parsing: Tensor
    edge: Tensor
    boundary_attention: Tensor
    dice: Tensor


Sum = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a run."""


def count_pixels(label: Tensor, edge: Tensor) -> Tensor:
    """Counts that the terms divide by, 4 int64: labelled pixels, edge pixels, all pixels, images.

    Summed over the processes of a run, these counts make the losses of all processes add up to the loss of one large
    batch.
    """
    sizes = [edge.new_full((), size) for size in (edge.numel(), len(edge))]
    return torch.stack([(label != IGNORE).sum(), edge.sum(), *sizes])


class EAGRNetLoss(nn.Module):
    """total = scale x (parsing x P + edge x E + boundary_attention x B + dice x D).

    For example:

        loss = EAGRNetLoss(dice=1.0)
        loss(model(image), label, edge).total.backward()
    """

    class_weights: Tensor | None

    def __init__(
        self,
        *,
        parsing: float = 1.0,
        edge: float = 1.0,
        boundary_attention: float = 4.0,
        dice: float = 0.0,
        scale: float = 1.0,
        class_weights: Tensor | None = None,
    ) -> None:
        """Set the weight of each term.

        Args:
            class_weights: one for each class, for each pixel's part in P and B; the terms stay means over pixels. With
                weights w alone, a network would see rare classes where there are none. So the loss adds log w to the
                logits, and the network itself learns plain probabilities p: the loss is lowest where softmax(logits +
                log w) is proportional to w p (Menon et al., Logit adjustment, ICLR 2021).
        """
        super().__init__()
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.parsing = parsing
        self.edge = edge
        self.boundary_attention = boundary_attention
        self.dice = dice
        self.scale = scale

    def forward(self, output: Output, label: Tensor, edge: Tensor, total: Sum = lambda part: part) -> LossTerms:
        """Compute the terms of one batch. Where the batch is a part of a larger one, they are its share of the terms.

        Args:
            label: N x H x W int64 class ids; 255 is ignored.
            edge: N x H x W int64, 1 on edges.
            total: sums counts over all parts of the larger batch.
        """
        labelled, edges, pixels, images = total(count_pixels(label, edge))
        size = label.shape[-2:]
        parsing_logits = F.interpolate(output.parsing, size=size, mode="bilinear", align_corners=False)
        dice = parsing_logits.new_zeros(())
        if self.dice:  # every fourth pixel is a fair sample at a quarter of the cost
            dice = _dice(parsing_logits[..., ::2, ::2], label[:, ::2, ::2], total)
        if self.class_weights is not None:
            parsing_logits = parsing_logits + self.class_weights.log().view(1, -1, 1, 1)
        per_pixel = F.cross_entropy(
            parsing_logits, label, weight=self.class_weights, ignore_index=IGNORE, reduction="none"
        )  # N x H x W
        # A batch whose pixels are all ignored has no mean: use 0, not NaN.
        parsing = per_pixel.sum() / labelled.clamp(min=1)

        edge_term = parsing.new_zeros(())
        if output.edge is not None:
            edge_term = _edge_term(output.edge, edge, edges, pixels)

        # The published code divides by zero for an image without edges; here that image contributes 0.
        positives = edge.sum(dim=(1, 2))  # N
        attention = ((per_pixel * edge).sum(dim=(1, 2)) / positives.clamp(min=1)).sum() / images

        weighted = self.parsing * parsing + self.edge * edge_term + self.boundary_attention * attention
        if self.dice:
            weighted = weighted + self.dice * dice
        return LossTerms(self.scale * weighted, parsing.detach(), edge_term.detach(), attention.detach(), dice.detach())


def _edge_term(logits: Tensor, edge: Tensor, edges: Tensor, pixels: Tensor) -> Tensor:
    """Cross-entropy of the edge map. Each class weighs as much as the *other* class is frequent in the batch."""
    logits = F.interpolate(logits, size=edge.shape[-2:], mode="bilinear", align_corners=False)
    share = edges / pixels
    weight = torch.stack([share, 1 - share]).to(logits.dtype)
    weighed = 2 * edges * (1 - share)  # sum of all pixels' weights; 0 where only one class is present
    return F.cross_entropy(logits, edge, weight=weight, reduction="sum") / weighed.clamp(min=1)


def _dice(logits: Tensor, label: Tensor, total: Sum) -> Tensor:
    """1 - 2 x shared / (found + true), each summed over the batch; the mean over the classes that are present.

    This is one minus the F1 score of soft answers (Milletari et al., V-Net, 2016). Each class weighs the same, however
    rare it is.
    """
    classes = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    truth = (label.unsqueeze(1) == classes).to(logits.dtype)  # N x C x H x W; all 0 on ignored pixels
    probabilities = logits.softmax(dim=1)
    over_pixels = (0, 2, 3)
    shared = (probabilities * truth).sum(over_pixels)
    found = (probabilities * (label != IGNORE).unsqueeze(1)).sum(over_pixels)
    true = truth.sum(over_pixels)
    all_shared, all_found, all_true = total(torch.stack([shared, found, true]).detach())
    size = (all_found + all_true).clamp(min=1)
    # Terms and gradients of all parts add up to those of the whole batch. The last summand has the value 0: it carries
    # the gradient of `found`, which is in the divisor.
    share = true / all_true.clamp(min=1) - 2 * shared / size + 2 * all_shared / size**2 * (found - found.detach())
    present = all_true > 0
    return (share * present).sum() / present.sum().clamp(min=1)
