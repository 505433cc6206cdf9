"""Several networks as one."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from faceparse.core.model.parsing import Output, ParsingModel


class Ensemble(ParsingModel):
    """The mean of several networks' probabilities, as its logarithm: N x 3 x H x W normalised images -> `Output`.

    The softmax of that logarithm is the mean itself. All networks have the same classes.
    """

    def __init__(self, members: Sequence[ParsingModel]) -> None:
        """Use `members`, whose mode (train or eval) the caller sets."""
        super().__init__(members[0].backbone)
        self.members = nn.ModuleList(members)
        self.align_corners = members[0].align_corners

    def forward(self, image: Tensor) -> Output:
        """Return logits of the mean at 1/4 of the input size, without edges."""
        return Output(self._mean(lambda member: member(image).parsing), None)

    def parse(self, image: Tensor) -> Tensor:
        """Return logits of the mean at the input's own size. Each network's map is enlarged before the mean."""
        return self._mean(lambda member: member.parse(image))

    def _mean(self, logits: Callable[[ParsingModel], Tensor]) -> Tensor:
        logs = [logits(member).float().log_softmax(dim=1) for member in self.members]  # type: ignore[arg-type]
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(logs))
