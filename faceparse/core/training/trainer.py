"""The training step and the training loop."""

import time
from collections.abc import Callable, Iterable, Iterator
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


class NonFiniteLossError(TrainingError):
    """The loss of a batch is infinite or not a number; the weights are those from before it."""

    def __init__(self, iteration: int, indices: list[int]) -> None:
        super().__init__(f"the loss is not finite at iteration {iteration}; lower optim.lr or check the dataset")
        self.iteration = iteration
        self.indices = indices
        """Samples of the batch, as positions in the dataset."""


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
        """`optimizer` must be fused: only so can it pass over an update without the host knowing."""
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.normalise = normalise
        self.device = device
        self.iteration = 0
        self.done = 0
        """Iterations of the epoch under way."""
        self.lr = 0.0
        """Of the last iteration."""
        self.sums: Tensor = torch.zeros(len(LossTerms._fields), device=device)
        """Of the loss terms, over the epoch under way."""
        self._unchecked: list[tuple[Tensor, Tensor]] = []
        """Loss and sample indices of the iterations since the last look."""

    def step(self, batch: Batch) -> LossTerms:
        """Forward, backward, update. Nothing here waits for the device (but inplace-abn's own backward does).

        A loss that is not finite updates nothing.
        """
        batch = batch.to(self.device)
        terms: LossTerms = self.loss(self.model(self.normalise(batch.image)), batch.label.long(), batch.edge.long())
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        self.optimizer.found_inf = (~torch.isfinite(terms.total.detach())).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.schedule.step()
        self.iteration += 1
        return terms

    def start_epoch(self) -> None:
        self.done = 0
        self.sums.zero_()

    def train_epoch(
        self, batches: Iterable[Batch], after_step: Callable[[], None] = lambda: None
    ) -> Iterator[Progress]:
        """The rest of the epoch under way; reports every few iterations and once at the end.

        Args:
            after_step: called after every iteration, when the state is whole; what it raises ends the epoch there.

        Raises:
            NonFiniteLossError: the loss is not finite; known at the next report.
        """
        self.model.train()
        started, images, reported = time.perf_counter(), 0, False
        for batch in batches:
            self.lr = self.optimizer.param_groups[0]["lr"]
            try:
                terms = self.step(batch)
            except torch.OutOfMemoryError:
                raise TrainingError("the GPU's memory is full; lower --batch-size or --input-size") from None
            self.done += 1
            self.sums += torch.stack([term.detach() for term in terms])
            self._unchecked.append((terms.total.detach(), batch.indices))
            images += len(batch.indices)
            if reported := (self.done % REPORT_EVERY == 0 or self.done == 1):
                yield self._progress(images / (time.perf_counter() - started))
            after_step()
        if not reported:
            yield self._progress(images / (time.perf_counter() - started))

    def check_finite(self) -> None:
        """Look at the losses since the last look. Waits for the device.

        Raises:
            NonFiniteLossError: one of them is not finite.
        """
        if not self._unchecked:
            return
        finite = torch.stack([loss for loss, _ in self._unchecked]).isfinite().tolist()
        since, self._unchecked = self._unchecked, []
        for position, ((_, indices), fine) in enumerate(zip(since, finite, strict=True), 1):
            if not fine:
                raise NonFiniteLossError(self.iteration - len(since) + position, indices.tolist())

    def _progress(self, speed: float) -> Progress:
        self.check_finite()
        names = ("loss", *(f"loss_{name}" for name in LossTerms._fields[1:]))
        means = (self.sums / max(self.done, 1)).tolist()
        return Progress(self.done, dict(zip(names, means, strict=True)), self.lr, speed)

    def state_dict(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "iteration": self.iteration,
            "epoch": {"done": self.done, "lr": self.lr, "sums": self.sums.cpu()},
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration = state["iteration"]
        self.done, self.lr = state["epoch"]["done"], state["epoch"]["lr"]
        self.sums = state["epoch"]["sums"].to(self.device)
        torch.set_rng_state(state["rng"].cpu())


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
