"""Load data in other processes, and pass their errors on as they were raised.

PyTorch turns a loader process's exception into another one, whose message is a traceback. Users need the one line that
names the file. So errors travel as values here, and the main process raises them again.
"""

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from faceparse.core.errors import FaceparseError, ResourceError, SettingsError, TrainingError
from faceparse.core.machine.parallel import STOPPING, process_context, script_hidden, start_worker

SHARED = "/dev/shm"
"""Where Linux keeps shared memory: half of the machine's memory, but 64 MB in Docker's containers."""

NEEDED = "faceparse.core.sampling.samples"
"""Module that loader processes need, with all that it imports."""

T = TypeVar("T")
B = TypeVar("B")


def start_loader_server(workers: int) -> None:
    """Start the server that loader processes are forked from, if there are to be any.

    It imports what they need as it starts, and never later. So start it before other work in processes starts one that
    has imported nothing: then each loader process would import PyTorch by itself, in each epoch.
    """
    if workers:
        process_context(NEEDED)


class Loader(Generic[T, B]):
    """Batches of a dataset. Iterate over it as often as you like."""

    def __init__(
        self,
        dataset: Dataset[T],
        collate: Callable[[Sequence[T]], B],
        *,
        device: torch.device,
        workers: int,
        batch_size: int = 1,
        batches: Sampler[list[Any]] | None = None,
        persistent: bool = False,
        prefetch: int | None = None,
        pin_memory: bool | None = None,
    ) -> None:
        """Prepare the loading. Each iteration, or the first with `persistent`, starts the processes.

        Args:
            batches: a batch sampler in place of `batch_size`.
            persistent: keep the processes between epochs.
            prefetch: number of batches that each process loads ahead, if there are processes.
            pin_memory: see `pins`.

        Raises:
            SettingsError: `pin_memory` is set, but the device is no GPU.
        """
        if workers:
            _end_loaders_at_exit(os.getpid())
        chosen: dict[str, Any] = {"batch_sampler": batches} if batches is not None else {"batch_size": batch_size}
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(dataset),
            collate_fn=_GuardedCollate(collate, workers),
            num_workers=workers,
            multiprocessing_context=process_context(NEEDED) if workers else None,
            persistent_workers=persistent and workers > 0,
            prefetch_factor=prefetch,
            pin_memory=pins(pin_memory, device),
            generator=torch.Generator(),  # else every start of an epoch would change the network's random state
            worker_init_fn=_start_loader,
            **chosen,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[B]:
        batches = self._start()
        exhausted = False
        try:
            for batch in batches:
                if isinstance(batch, FaceparseError):
                    raise batch
                yield pickle.loads(batch.content) if isinstance(batch, _Packed) else batch
            exhausted = True
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                "a loader process was killed; lower data.workers (0 loads without any), or give /dev/shm more room"
            ) from None
        finally:
            if not exhausted:
                self._abandon(batches)

    def _start(self) -> Iterator[Any]:
        try:
            with script_hidden():
                return iter(self._loader)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise ResourceError(
                f"{SHARED} is full, through which loader processes hand over batches; give it more room (docker run "
                "--shm-size=1g), or set data.workers = 0"
            ) from None

    def _abandon(self, batches: Any) -> None:
        """End the processes now.

        The garbage collector may end them after their queues, and then they wait for seconds for a message that does
        not come.
        """
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()
            self._loader._iterator = None  # the next epoch cannot use it


def pins(setting: bool | None, device: torch.device) -> bool:
    """Whether batches go to pinned memory, which a GPU reads by itself: as set, else for a GPU only.

    Raises:
        SettingsError: it is set, but the device is no GPU.
    """
    if setting and device.type != "cuda":
        raise SettingsError(
            f"data.pin_memory = true is for a GPU, but the device is {device}; use auto, or another device"
        )
    return device.type == "cuda" if setting is None else setting


def _start_loader(_worker: int) -> None:
    start_worker()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # it goes to the whole group; the batches under way are still wanted


@cache
def _end_loaders_at_exit(_pid: int) -> None:
    """End the loader processes before multiprocessing does: it sends SIGTERM, and waits for ever.

    Call this in the process that starts the loaders: multiprocessing drops what a child process registers while it
    starts.
    """
    Finalize(None, _end_loaders, exitpriority=100)


def _end_loaders() -> None:
    for process in multiprocessing.active_children():
        process.kill()


class _Guarded(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except FaceparseError as error:
            return error


@dataclass(frozen=True)
class _Packed:
    """A batch as bytes, which goes through a pipe. Only our loader processes make one."""

    content: bytes


class _GuardedCollate:
    def __init__(self, collate: Callable[[Sequence[Any]], Any], workers: int) -> None:
        self.collate = collate
        self.workers = workers

    def __call__(self, items: Sequence[Any]) -> Any:
        error = _first_error(items)
        if error is not None:
            return error
        batch = self.collate(items)
        return batch if not self.workers or _fits_shared(batch, self.workers) else _Packed(pickle.dumps(batch))


def _fits_shared(batch: Any, workers: int) -> bool:
    """Whether shared memory has room for a batch from each loader process, and for as many of another loader.

    All processes may look at once. Without room, PyTorch would lose the batch and wait for it for ever, or be killed.
    """
    return free_shared() >= (2 * workers + 1) * (_shared_bytes(batch) + _PAGES)


def _shared_bytes(part: Any) -> int:
    """Bytes of the tensors in a batch: everything else goes through a pipe."""
    if isinstance(part, torch.Tensor):
        return part.nbytes
    if isinstance(part, Mapping):
        return sum(map(_shared_bytes, part.values()))
    return sum(map(_shared_bytes, part)) if isinstance(part, tuple) else 0


_PAGES = 2**18
"""Extra bytes that a batch may need, because each tensor takes whole pages."""


def free_shared() -> float:
    """Free bytes of shared memory; infinite where nothing tells."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return float("inf")


def _first_error(items: Iterable[Any]) -> FaceparseError | None:
    return next((item for item in items if isinstance(item, FaceparseError)), None)
