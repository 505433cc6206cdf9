"""The training step and the training loop."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.profiler import record_function

from faceparse.core.errors import CheckpointError, TrainingError, first_line
from faceparse.core.machine.device import full_memory_named
from faceparse.core.machine.distributed import ALONE, World, lost_processes_named
from faceparse.core.model.normalise import Normalise
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.exact_weights import load_exactly
from faceparse.core.sampling.samples import Batch
from faceparse.core.training.average import WeightAverage
from faceparse.core.training.loss import ADDED, EAGRNetLoss, LossTerms
from faceparse.core.training.schedule import set_rates
from faceparse.core.training.speed import keep_slow_in_float
from faceparse.core.training.state import TrainerState, fitting_optimizer_state

REPORT_EVERY = 10
"""Iterations between two reads of the loss: each read waits for the GPU."""


@dataclass(frozen=True)
class Progress:
    """Position and averages of the epoch under way."""

    iteration: int
    """Iterations finished in this epoch."""
    losses: dict[str, float]
    """Means over the epoch: loss, loss_parsing, loss_edge, loss_boundary_attention; loss_dice and loss_lovasz if they
    have a weight."""
    lr: float
    images_per_second: float
    """Speed of all processes together."""


class NonFiniteLossError(TrainingError):
    """The loss of a batch is infinite or not a number; the batch did not change the weights."""

    def __init__(self, iteration: int, indices: list[int]) -> None:
        super().__init__(f"the loss is not finite at iteration {iteration}; lower optim.lr or check the dataset")
        self.iteration = iteration
        self.indices = indices
        """Samples of this process at that iteration, as positions in the dataset."""


class Trainer:
    """Trains the network for whole epochs. `state_dict` has everything that it changes except the network itself."""

    def __init__(
        self,
        *,
        model: ParsingModel,
        loss: EAGRNetLoss,
        optimizer: Optimizer,
        schedule: LambdaLR,
        normalise: Normalise,
        device: torch.device,
        world: World = ALONE,
        accumulate: int = 1,
        ema: float = 0.0,
        clip: float = 0.0,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        compiled: bool = False,
    ) -> None:
        """Move the network into the right memory format, and share the first process's weights with all.

        Args:
            optimizer: a fused one skips a bad update without waiting for the device; with any other, each step waits.
            world: the processes whose batches make one large batch; all start from the weights of the first.
            accumulate: batches per update.
            ema: share of the old value in the running average of the weights; 0 keeps no average.
            clip: longest allowed gradient, as a norm over all weights; 0 clips nothing.
            dtype: type of the forward and backward computations; weights and loss stay float32.
        """
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.normalise = normalise
        self.device = device
        self.world = world
        self.accumulate = accumulate
        self.clip = clip
        self.dtype, self.channels_last = dtype, channels_last
        if dtype == torch.bfloat16 and device.type == "cpu":
            keep_slow_in_float(model)
        model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        world.copy_from_first(model.state_dict().values())
        self.average = WeightAverage(model, ema, world.data) if ema else None
        self.compiled = compiled
        self.frozen = False
        """Whether the backbone stays as it is."""
        self._assemble()
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self._fused = bool(optimizer.defaults.get("fused"))
        self.iteration = 0
        self.done = 0
        """Finished iterations of the epoch under way."""
        self.lr = 0.0
        """Learning rate of the last iteration."""
        self.sums: Tensor = torch.zeros(len(LossTerms._fields), device=device)
        """Sums of the loss terms over the epoch under way."""
        self._unchecked: list[tuple[Tensor, Tensor]] = []
        """Loss and sample indices of the iterations since the last check."""

    def _assemble(self) -> None:
        """Put `model` together with what sums gradients over processes (`_parallel`); `_network` is the one to call."""
        self._parallel: DistributedDataParallel | None = None
        if self.world.size > 1:
            # From here on batch norm itself keeps its statistics equal in all processes.
            self._parallel = DistributedDataParallel(
                self.model, process_group=self.world.data, broadcast_buffers=False, gradient_as_bucket_view=True
            )
        network: nn.Module = self._parallel or self.model
        self._network = torch.compile(_without_messages(network, self.model)) if self.compiled else network

    def freeze(self, frozen: bool) -> None:
        """Keep the backbone's weights and statistics as they are from now on, or train them again.

        All processes must call this together.
        """
        if not frozen:
            self._complete_momentum()
        if frozen == self.frozen:
            return
        self.frozen = frozen
        self.optimizer.zero_grad(set_to_none=True)  # a frozen weight without a gradient is not even decayed
        self.model.backbone.requires_grad_(not frozen)
        self._parallel = None  # frees its hooks on the weights before new ones come
        self._assemble()

    def _complete_momentum(self) -> None:
        """Give weights that were frozen a momentum of 0, as before a first update.

        SGD's fused update takes momentum for all weights or for none.
        """
        state = self.optimizer.state
        if isinstance(self.optimizer, SGD) and any(one.get("momentum_buffer") is not None for one in state.values()):
            for parameter in self.model.parameters():
                state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))

    @property
    def next_lr(self) -> float:
        """Learning rate of the next iteration."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def best_model(self) -> ParsingModel:
        """Network to evaluate and to keep: the running average where there is one."""
        return self.average.model if self.average is not None else self.model

    def step(self, batches: Sequence[Batch]) -> Tensor:
        """Run forward and backward on each batch, then update the weights.

        A loss that is not finite leaves the weights as they are; schedule and running average go on all the same.
        Nothing here waits for the device, except the backward of inplace-abn and an optimizer that is not fused.

        Returns:
            The loss terms (as `LossTerms`) over all processes; mean over `batches`.
        """
        self.optimizer.zero_grad(set_to_none=True)
        found = torch.zeros_like(self.sums)
        for number, batch in enumerate(batches, 1):
            with self._gradients_kept_here(unless=number == len(batches)):
                found += self._forward_backward(batch, len(batches))
        with record_function("update"):
            self._update(found[0])
            self.schedule.step()
            self.iteration += 1
            if self.average is not None:
                self.average.update(self.iteration)
        return found

    def _forward_backward(self, batch: Batch, batches: int) -> Tensor:
        with record_function("to device"):
            batch = batch.to(self.device)
            image, label, edge = self.normalise(batch.image), batch.label.long(), batch.edge.long()
            if not self.channels_last:
                image = image.contiguous()
        with record_function("forward"), self._autocast():
            output = self._network(image)
        with record_function("loss"):
            if self.dtype != torch.float32:
                output = Output(output.parsing.float(), None if output.edge is None else output.edge.float())
            terms: LossTerms = self.loss(output, label, edge, self.world.sum)
        with record_function("backward"):
            # DDP averages gradients, but each process has only its share of the loss: multiply by their number.
            self._scaler.scale(terms.total * (self.world.size / batches)).backward()
        return self.world.sum(torch.stack([term.detach() for term in terms])) / batches

    def _update(self, loss: Tensor) -> None:
        """Update the weights, unless the loss is not finite or, with fp16 or clipping, a gradient is not."""
        judged = loss
        if self.clip:
            self._scaler.unscale_(self.optimizer)
            # A norm that is not finite would make every gradient that it scales not finite, too.
            judged = loss + clip_grad_norm_(self.model.parameters(), self.clip)
        if self._scaler.is_enabled():
            self._scaler.step(self.optimizer)
            self._scaler.update()
        elif self._fused:
            # A fused optimizer skips its update by itself, without telling the host.
            self.optimizer.found_inf = (~torch.isfinite(judged)).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif judged.isfinite():
            self.optimizer.step()

    def start_epoch(self) -> None:
        """Reset the counts and sums for a new epoch."""
        self.done = 0
        self.sums.zero_()

    def train_epoch(
        self, batches: Iterable[Batch], after_step: Callable[[], None] = lambda: None
    ) -> Iterator[Progress]:
        """Train the rest of the epoch under way. Report every few iterations and once at the end.

        Args:
            batches: `accumulate` for each iteration.
            after_step: called after every iteration, when the state is whole; an error that it raises ends the epoch
                there.

        Raises:
            NonFiniteLossError: the loss is not finite; raised at the next report, in all processes.
            LostProcessError: another process is gone.
            ResourceError: memory ran out.
        """
        self.model.train()
        if self.frozen:
            self.model.backbone.eval()
        started, images, reported = time.perf_counter(), 0, False
        iterator = iter(batches)
        while True:
            with record_function("load"):
                group = list(islice(iterator, self.accumulate))
            if not group:
                break
            self.lr = self.next_lr
            with lost_processes_named(), full_memory_named(self.device):
                found = self.step(group)
            self.done += 1
            self.sums += found
            indices = torch.cat([batch.indices for batch in group])
            self._unchecked.append((found[0], indices))
            images += len(indices) * self.world.size
            if reported := (self.done % REPORT_EVERY == 0 or self.done == 1):
                yield self._progress(images / (time.perf_counter() - started))
            after_step()
        if not reported:
            yield self._progress(images / (time.perf_counter() - started))

    def check_finite(self) -> None:
        """Check the losses since the last check. Waits for the device.

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
        means = dict(zip(LossTerms._fields, (self.sums / max(self.done, 1)).tolist(), strict=True))
        means = {name: mean for name, mean in means.items() if name not in ADDED or getattr(self.loss, name)}
        losses = {"loss": means.pop("total")} | {f"loss_{name}": mean for name, mean in means.items()}
        return Progress(self.done, losses, self.lr, speed)

    def _gradients_kept_here(self, *, unless: bool) -> AbstractContextManager[None]:
        """Do not send gradients to other processes yet, while more batches will add to them."""
        return nullcontext() if unless or self._parallel is None else self._parallel.no_sync()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def state_dict(self) -> dict[str, Any]:
        """State of the training, the same in all processes."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "weights": self.model.state_dict() if self.average is not None else None,
            "iteration": self.iteration,
            "epoch": {"done": self.done, "lr": self.lr, "sums": self.sums.cpu()},
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: TrainerState, where: Path) -> None:
        """Load the state of the training.

        Load the network before: where an average is kept, the loaded weights are the average's.

        Args:
            where: the state's file, for errors.

        Raises:
            CheckpointError: the state is of another network or another optimizer.
        """
        try:
            self._load(state, where)
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{where}: its training state does not fit ({first_line(error)}); go on from another checkpoint"
            ) from None

    def _load(self, state: TrainerState, where: Path) -> None:
        sums = state.epoch.sums.to(self.device)
        if len(sums) > len(self.sums):
            raise ValueError(f"it has sums of {len(sums)} terms")
        schedule = state.schedule.model_dump(by_alias=True)
        if {len(schedule["base_lrs"]), len(schedule["_last_lr"])} != {len(self.optimizer.param_groups)}:
            raise ValueError("its schedule has other groups of parameters")
        trained_later = set(self.model.backbone.parameters())
        self.optimizer.load_state_dict(fitting_optimizer_state(state.optimizer, self.optimizer, trained_later))
        self.schedule.load_state_dict(self.schedule.state_dict() | schedule)
        set_rates(self.schedule)
        scaler = state.scaler.model_dump(by_alias=True)
        if self._scaler.is_enabled() and None in scaler.values():
            raise ValueError("it lacks the scale of the gradients")
        self._scaler.load_state_dict(scaler)
        if self.average is not None:
            if state.weights is None:
                raise ValueError("it lacks the weights beside their average")
            self.average.model.load_state_dict(self.model.state_dict())
            load_exactly(self.model, state.weights, where)
        self.iteration, self.done, self.lr = state.iteration, state.epoch.done, state.epoch.lr
        self.sums = F.pad(sums, (0, len(self.sums) - len(sums)))  # a run from before a term existed has fewer
        torch.set_rng_state(state.rng)


def _without_messages(network: nn.Module, model: ParsingModel) -> nn.Module:
    """Exclude modules that send messages to other processes from compilation."""
    for module in model.modules():
        if getattr(module, "group", None) is not None:
            module.forward = torch.compiler.disable(module.forward)
    return network


def parameters(model: nn.Module) -> int:
    """Number of parameters of a network."""
    return sum(parameter.numel() for parameter in model.parameters())
