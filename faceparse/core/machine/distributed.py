"""Several processes that train one model: their ranks, and how they agree.

The methods of `World` are collective: all processes must call them in the same order, or they wait for each other until
they time out. In a single process each call just returns. An error is a `FaceparseError` of a function.

| method | who computes | who gets the result | an error in one process |
|---|---|---|---|
| `sum(tensor)` | all, on host or device | all: the sum, in place | - |
| `copy_from_first(tensors)` | nobody | all: the first one's values, in place | - |
| `vote(value, error)` | nobody | all: the largest value | is raised in all, within `launch.timeout` |
| `in_step(items, rounds, value)` | all: the next item | each: its item, and the vote on `value` | is raised in all |
| `gather(value)` | nobody | all: the values of all, by rank | - |
| `on_first(function)` | the first process | all: its result, pickled | is raised in all |
| `on_all(function)` | all | each: its own result | is raised in all |
| `once_per_machine(function)` | the first process of each machine | nobody | is raised in all |
| `raise_in_all(error)` | nobody | nobody | is raised in all |

Tensors, `vote` and `in_step` wait `launch.timeout` for the others; the rest waits `PATIENCE`. Where a process is gone,
the others raise LostProcessError.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from faceparse.core.errors import FaceparseError, LostProcessError, SettingsError, first_line

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""Time limit for work that one process does alone while the others wait, such as making edge maps."""
_ERROR = 1 << 16
"""Vote of a process that cannot go on; larger than any signal's number."""


@dataclass(frozen=True)
class World:
    """The processes of one training run. A process alone is the first of one.

    For example:

        with join(device, settings.launch.timeout) as world:
            total = world.sum(torch.tensor(3))
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among the processes on this machine."""
    local_size: int = 1
    data: Any = None
    """Process group for tensors on the training device; None in a single process, as the next two."""
    control: Any = None
    """Process group for votes, on the host: nobody waits for a GPU, and a dead process is noticed at once."""
    patient: Any = None
    """As `control`, for steps that may take long."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all processes, in place, on the host or on the training device. Waits for no GPU."""
        if self.size > 1:
            with lost_processes_named():
                dist.all_reduce(tensor, group=self.control if tensor.device.type == "cpu" else self.data)
        return tensor

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Copy the first process's values to all processes, in place."""
        for tensor in tensors:
            if self.size > 1:
                with lost_processes_named():
                    dist.broadcast(tensor, src=0, group=self.data)

    def vote(self, value: int = 0, error: FaceparseError | None = None) -> int:
        """The largest value of all processes.

        Raises:
            FaceparseError: one of them brought an error; the same error in all processes, marked as agreed.
            LostProcessError: one of them did not vote in time, or is gone.
        """
        if self.size == 1:
            if error is not None:
                raise error
            return value
        with lost_processes_named():
            votes = torch.tensor([_ERROR if error is not None else value])
            dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self.control)
            if votes.item() < _ERROR:
                return int(votes.item())
        raise _agreed(next(found for found in self.gather(error) if found is not None))

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with lost_processes_named():
            dist.all_gather_object(values, value, group=self.patient)
        return values

    def on_first(self, function: Callable[[], T]) -> T:
        """Call `function` in the first process only, and return its result in all processes.

        Raises:
            FaceparseError: `function` raised it; raised in all processes.
        """
        if self.size == 1:
            return function()
        answer: list[Any] = [None]
        if self.is_first:
            try:
                answer = [function()]
            except FaceparseError as error:
                answer = [_Raised(error)]
        with lost_processes_named():
            dist.broadcast_object_list(answer, src=0, group=self.patient)
        if isinstance(answer[0], _Raised):
            raise _agreed(answer[0].error)
        return answer[0]

    def once_per_machine(self, function: Callable[[], object]) -> None:
        """Call `function` in the first process of each machine, while the others wait.

        Raises:
            FaceparseError: `function` raised it on any machine; raised in all processes.
        """
        self.on_all(lambda: function() if self.local_rank == 0 else None)

    def on_all(self, function: Callable[[], T]) -> T:
        """Call `function` in each process and return its result here. It must not wait for other processes.

        Raises:
            FaceparseError: `function` raised it in any process; raised in all of them.
        """
        result: Any = None
        error: FaceparseError | None = None
        try:
            result = function()
        except FaceparseError as raised:
            error = raised
        self.raise_in_all(error)
        return result

    def raise_in_all(self, error: FaceparseError | None) -> None:
        """Raise the error in all processes if any of them has one. Waits up to `PATIENCE`."""
        if found := next((one for one in self.gather(error) if one is not None), None):
            raise found if self.size == 1 else _agreed(found)

    def in_step(self, items: Iterable[T], rounds: int, value: Callable[[], int]) -> Iterator[tuple[T | None, int]]:
        """Yield each item with the vote on `value`, held before the item is used: all processes go on, or none does.

        Args:
            rounds: number of votes, the same in all processes; after its last item, a process gets None.

        Raises:
            FaceparseError: an item could not be loaded, here or elsewhere.
        """
        iterator = iter(items)
        for _ in range(rounds):
            item, error = None, None
            try:
                item = next(iterator, None)
            except FaceparseError as raised:
                error = raised
            yield item, self.vote(value(), error)


ALONE = World()


@dataclass(frozen=True)
class _Raised:
    error: FaceparseError


def _agreed(error: FaceparseError) -> FaceparseError:
    error.agreed = True
    return error


def is_joined() -> bool:
    """Whether a launcher (torchrun, SLURM, Kubernetes, ours) started this process as one of several."""
    return _number("WORLD_SIZE", 1, least=1) > 1


def local_rank() -> int:
    """Rank of this process on its machine; 0 for a process alone."""
    return _number("LOCAL_RANK", 0) if is_joined() else 0


def _number(name: str, default: int | None, *, least: int = 0) -> int:
    """Value of an environment variable that launchers set.

    Raises:
        SettingsError: it is missing and has no default, or is no such number.
    """
    text = os.environ.get(name, "") or ("" if default is None else str(default))
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < least:
        found = f"{name} = {text[:40]!r}" if text else f"WORLD_SIZE without {name}"
        raise SettingsError(
            f"environment: {found}; a launcher such as torchrun sets all of them, unset WORLD_SIZE to train alone"
        )
    return int(text)


def _check_environment() -> None:
    """Check the variables that a launcher sets.

    Raises:
        SettingsError: one is missing, or makes no sense.
    """
    size, rank = _number("WORLD_SIZE", None), _number("RANK", None)
    if rank >= size:
        raise SettingsError(f"environment: RANK = {rank}, but WORLD_SIZE = {size}; ranks are numbered from 0")
    if not os.environ.get("MASTER_ADDR"):
        raise SettingsError("environment: WORLD_SIZE without MASTER_ADDR; start the processes by torchrun, or unset it")
    _number("MASTER_PORT", None)
    _number("LOCAL_WORLD_SIZE", 1, least=1)


@contextmanager
def join(device: torch.device, timeout: float, *, gpu_is_shared: bool = False) -> Iterator[World]:
    """Join the processes that RANK, WORLD_SIZE and MASTER_ADDR name; without these variables, this process is alone.

    Args:
        timeout: seconds without an answer after which another process counts as lost.
        gpu_is_shared: two processes have the same GPU. NCCL refuses that, so gloo carries the tensors.

    Raises:
        LostProcessError: the others did not come.
        SettingsError: a launcher set some of these variables and not the others.
    """
    if not is_joined():
        yield ALONE
        return
    _check_environment()
    patience = timedelta(seconds=timeout)
    with lost_processes_named():
        if device.type == "cuda" and not gpu_is_shared:
            dist.init_process_group("nccl", timeout=patience, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=patience)
        control = dist.new_group(backend="gloo", timeout=patience)
        patient = dist.new_group(backend="gloo", timeout=PATIENCE)
    try:
        local_size = _number("LOCAL_WORLD_SIZE", 1, least=1)
        yield World(
            dist.get_rank(), dist.get_world_size(), local_rank(), local_size, dist.group.WORLD, control, patient
        )
    finally:
        dist.destroy_process_group()


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Turn the error of a broken collective into LostProcessError."""
    try:
        yield
    except RuntimeError as error:
        if not _is_broken_collective(error):
            raise
        found = re.search(r"[Tt]imed? ?out|Connection \w+ by peer", str(error))
        text = found.group() if found else first_line(error)
        reason = "no answer within launch.timeout" if text.lower().startswith("time") else text
        raise LostProcessError(f"another training process was lost ({reason})") from None


def _is_broken_collective(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
