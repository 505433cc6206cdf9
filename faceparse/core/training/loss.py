"""The loss of EAGRNet (paper section 3.5): parsing, edge and boundary-attention cross-entropy. Two more if wanted.

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
    lovasz: Tensor


ADDED = ("dice", "lovasz")
"""Terms that the recipe lacks: they are computed only where they have a weight."""

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
    """total = scale x (parsing x P + edge x E + boundary_attention x B + dice x D + lovasz x L).

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
        lovasz: float = 0.0,
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
        self.lovasz = lovasz
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
        dice = lovasz = parsing_logits.new_zeros(())
        if self.dice or self.lovasz:  # every fourth pixel is a fair sample at a quarter of the cost
            probabilities, sampled = parsing_logits[..., ::2, ::2].softmax(dim=1), label[:, ::2, ::2]
            if self.dice:
                dice = _dice(probabilities, sampled, total)
            if self.lovasz:
                lovasz = _lovasz(probabilities, sampled) / images
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
        if self.lovasz:
            weighted = weighted + self.lovasz * lovasz
        parts = (parsing, edge_term, attention, dice, lovasz)
        return LossTerms(self.scale * weighted, *(part.detach() for part in parts))


def _edge_term(logits: Tensor, edge: Tensor, edges: Tensor, pixels: Tensor) -> Tensor:
    """Cross-entropy of the edge map. Each class weighs as much as the *other* class is frequent in the batch."""
    logits = F.interpolate(logits, size=edge.shape[-2:], mode="bilinear", align_corners=False)
    share = edges / pixels
    weight = torch.stack([share, 1 - share]).to(logits.dtype)
    weighed = 2 * edges * (1 - share)  # sum of all pixels' weights; 0 where only one class is present
    return F.cross_entropy(logits, edge, weight=weight, reduction="sum") / weighed.clamp(min=1)


def _dice(probabilities: Tensor, label: Tensor, total: Sum) -> Tensor:
    """1 - 2 x shared / (found + true), each summed over the batch; the mean over the classes that are present.

    This is one minus the F1 score of soft answers (Milletari et al., V-Net, 2016). Each class weighs the same, however
    rare it is.
    """
    truth = _one_hot(label, probabilities)
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


def _lovasz(probabilities: Tensor, label: Tensor) -> Tensor:
    """Lovász-Softmax (Berman et al., CVPR 2018): the mean over an image's classes, summed over images.

    The Jaccard loss, 1 - IoU, is a function of the set of wrong pixels. Its Lovász extension takes errors from 0 to 1
    instead of a set: the pixels come in by falling error, and each error counts as much as the loss rises when its
    pixel comes in. An error is 1 - p where the class is true, and p elsewhere. Classes that the image lacks and ignored
    pixels do not count. The IoU is that of one image, not of the batch, so that the terms of all processes add up.
    """
    truth = _one_hot(label, probabilities).flatten(2)  # N x C x P
    other = (label != IGNORE).flatten(1).unsqueeze(1).to(truth.dtype) - truth  # 1 where the pixel is of another class
    errors = (truth - probabilities.flatten(2)).abs()
    errors, order = errors.sort(dim=2, descending=True)
    truth, other = truth.gather(2, order), other.gather(2, order)
    true = truth.sum(dim=2, keepdim=True)
    shared = true - truth.cumsum(dim=2)
    union = (true + other.cumsum(dim=2)).clamp(min=1)
    # 1 - shared / union rises by 1 / union where a true pixel is lost, and by this difference where another is added.
    rise = truth / union + other * shared / (union * (union - 1).clamp(min=1))
    present = true.squeeze(2) > 0
    by_image = ((errors * rise).sum(dim=2) * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
    return by_image.sum()


def _one_hot(label: Tensor, like: Tensor) -> Tensor:
    """N x C x H x W of `like`'s type: 1 for each pixel's class, 0 for others and on ignored pixels."""
    classes = torch.arange(like.shape[1], device=like.device).view(1, -1, 1, 1)
    return (label.unsqueeze(1) == classes).to(like.dtype)
