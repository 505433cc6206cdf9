"""Running average of the weights: smoother than the weights themselves, and often better."""

import copy
from typing import Any

import torch

from faceparse.core.model.parsing import ParsingModel


class WeightAverage:
    """Exponential moving average of all weights and running statistics of a network."""

    def __init__(self, model: ParsingModel, decay: float, group: Any = None) -> None:
        """Start as a copy of `model`. `group` is the process group that its norm layers share, if any."""
        self.model = copy.deepcopy(model, {id(group): group}).requires_grad_(False)
        self.decay = decay
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        self._averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]  # counters

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Follow the network after its `updates`-th update.

        The first updates count for more, because they move furthest from the start.
        """
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_([kept for kept, _ in self._averaged], [new for _, new in self._averaged], 1 - decay)
        for kept, new in self._copied:
            kept.copy_(new)
