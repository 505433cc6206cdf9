"""The training step and the training loop."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from faceparse.core.data.dataset import Batch, Normalise
from faceparse.core.errors import TrainingError
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.training.loss import EAGRNetLoss, LossTerms

REPORT_EVERY = 10
"""Iterations between two looks at the loss: each look waits for the GPU."""


@dataclass(frozen=True)
class Progress:
    """Where an epoch stands."""

    iteration: int
    """Finished in this epoch."""
    losses: dict[str, float]
    """Mean over the epoch so far: loss, loss_parsing, loss_edge, loss_boundary_attention."""
    lr: float
    images_per_second: float


class Trainer:
    """Takes the network through epochs. Everything it changes is in `state_dict`."""

    def __init__(
        self,
        *,
        model: EAGRNet,
        loss: EAGRNetLoss,
        optimizer: SGD,
        schedule: LRScheduler,
        normalise: Normalise,
        device: torch.device,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.normalise = normalise
        self.device = device
        self.iteration = 0

    def step(self, batch: Batch) -> LossTerms:
        """Forward, backward, update. Nothing here waits for the device (but inplace-abn's own backward does)."""
        batch = batch.to(self.device)
        terms: LossTerms = self.loss(self.model(self.normalise(batch.image)), batch.label.long(), batch.edge.long())
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        self.optimizer.step()
        self.schedule.step()
        self.iteration += 1
        return terms

    def train_epoch(self, batches: Iterable[Batch]) -> Iterator[Progress]:
        """One pass; reports every few iterations and once at the end.

        Raises:
            TrainingError: the loss is not finite.
        """
        self.model.train()
        sums: Tensor = torch.zeros(len(LossTerms._fields), device=self.device)
        started, images, iteration = time.perf_counter(), 0, 0
        last_reported = 0
        for iteration, batch in enumerate(batches, 1):
            lr = self.optimizer.param_groups[0]["lr"]
            try:
                terms = self.step(batch)
            except torch.OutOfMemoryError:
                raise TrainingError("the GPU's memory is full; lower --batch-size or --input-size") from None
            sums += torch.stack([term.detach() for term in terms])
            images += len(batch.indices)
            if iteration % REPORT_EVERY == 0 or iteration == 1:
                yield self._progress(iteration, sums, lr, images / (time.perf_counter() - started))
                last_reported = iteration
        if iteration != last_reported:
            yield self._progress(iteration, sums, lr, images / (time.perf_counter() - started))

    def _progress(self, iteration: int, sums: Tensor, lr: float, speed: float) -> Progress:
        means = (sums / iteration).tolist()  # the one place that waits for the device
        names = ("loss", *(f"loss_{name}" for name in LossTerms._fields[1:]))
        if not all(map(torch.isfinite, torch.tensor(means))):
            raise TrainingError(
                f"the loss is no longer finite at iteration {self.iteration}; lower optim.lr or check the dataset"
            )
        return Progress(iteration, dict(zip(names, means, strict=True)), lr, speed)

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "iteration": self.iteration,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration = state["iteration"]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
