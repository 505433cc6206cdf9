"""Loading in other processes, with errors that arrive as they were raised.

PyTorch turns a loader process's exception into one whose message is a traceback. Users are owed the one line that
names the file, so errors travel as values here and are raised again in the main process.
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
from faceparse.core.machine.parallel import STOPPING, process_context, start_worker

SHARED = "/dev/shm"
"""Where Linux keeps shared memory: half of the machine's, but 64 MB in Docker's containers."""

T = TypeVar("T")
B = TypeVar("B")


class Loader(Generic[T, B]):
    """Batches of a dataset, as often as it is iterated over."""

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
        """
        Args:
            batches: a batch sampler in place of `batch_size`.
            persistent: keep the processes between epochs.
            prefetch: batches that each process works ahead, if there are processes.
            pin_memory: see `pins`.

        Raises:
            SettingsError: memory is to be pinned, but not for a GPU.
        """
        if workers:
            _end_loaders_at_exit(os.getpid())
        chosen: dict[str, Any] = {"batch_sampler": batches} if batches is not None else {"batch_size": batch_size}
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(dataset),
            collate_fn=_GuardedCollate(collate, workers),
            num_workers=workers,
            multiprocessing_context=process_context("faceparse.core.sampling.samples") if workers else None,
            persistent_workers=persistent and workers > 0,
            prefetch_factor=prefetch,
            pin_memory=pins(pin_memory, device),
            generator=torch.Generator(),  # else every start of an epoch would move the network's own dice
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
            return iter(self._loader)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise ResourceError(
                f"{SHARED} is full, through which loader processes hand over batches; give it more room (docker run "
                "--shm-size=1g), or set data.workers = 0"
            ) from None

    def _abandon(self, batches: Any) -> None:
        """End the processes now. Left to the garbage collector, they may find their queues gone, and wait for seconds
        for a word that does not come.
        """
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()
            self._loader._iterator = None  # it is of no use to the next epoch


def pins(setting: bool | None, device: torch.device) -> bool:
    """Whether batches go to memory from which a GPU fetches them by itself: as set, else for a GPU only.

    Raises:
        SettingsError: it is asked for, but the device is no GPU.
    """
    if setting and device.type != "cuda":
        raise SettingsError(
            f"data.pin_memory = true is for a GPU, but the device is {device}; use auto, or another device"
        )
    return device.type == "cuda" if setting is None else setting


def _start_loader(_worker: int) -> None:
    start_worker()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group; the batches under way are still wanted


@cache
def _end_loaders_at_exit(_pid: int) -> None:
    """Before multiprocessing asks them to end by SIGTERM, and waits for ever. Noted in the process that starts them:
    what a process that was itself started noted while it was made ready is forgotten.
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
    """A batch that goes through a pipe, as bytes. Only a loader process of ours makes one."""

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
    """Whether shared memory has room for a batch of this size from each loader process, and as many of another loader:
    all may look at once. Where it has not, PyTorch would lose the batch and wait for it for ever, or be killed.
    """
    return free_shared() >= (2 * workers + 1) * (_shared_bytes(batch) + _PAGES)


def _shared_bytes(part: Any) -> int:
    """Of the tensors of a batch: all else goes through a pipe anyway."""
    if isinstance(part, torch.Tensor):
        return part.nbytes
    if isinstance(part, Mapping):
        return sum(map(_shared_bytes, part.values()))
    return sum(map(_shared_bytes, part)) if isinstance(part, tuple) else 0


_PAGES = 2**18
"""What a batch may need beside its bytes: each tensor takes whole pages."""


def free_shared() -> float:
    """Bytes that shared memory has left; endless where nothing tells."""
    try:
        return shutil.disk_usage(SHARED).free
    except OSError:
        return float("inf")


def _first_error(items: Iterable[Any]) -> FaceparseError | None:
    return next((item for item in items if isinstance(item, FaceparseError)), None)
