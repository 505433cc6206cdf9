"""Decoded samples in memory that all loader processes share: read files once per run, not once per epoch."""

import mmap
import os
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing import reduction
from typing import Any, Literal

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.opening import read_size
from faceparse.core.images.warp import Size
from faceparse.core.machine.linux import shared_cache_problem
from faceparse.core.machine.memory import free_memory

PIXEL = 5
"""Bytes per pixel: three of the image, one of the label, one of the edge map."""

SHARE = {"auto": 0.5, "on": 0.9}
"""Mode -> share of the free memory that a cache may take.

The rest is for the network, which on a CPU lives in the same memory, for batches and for files.
"""


class SampleCache:
    """Image, label and edge map of each sample, as decoded by the first process that reads it.

    The block is a file in memory without a name. It does not use /dev/shm, which containers keep small, and it ends
    with the last process that holds it. It is mapped read-only, so that nothing can change a sample, and filled by
    writing to the file: if memory runs out after all, a write fails with an error, where mapped memory would cause a
    SIGBUS.
    """

    def __init__(self, sizes: Sequence[Size]) -> None:
        """Reserve address space. Memory is taken sample by sample.

        Raises:
            OSError: the system gives no such block.
        """
        block = os.memfd_create("faceparse-samples")
        self._hold(block, np.array(sizes, np.int64).reshape(-1, 2))
        os.pwrite(block, bytes(len(sizes)), 0)  # write the flags now: they are read before any is set

    def _hold(self, block: int, sizes: np.ndarray) -> None:
        self._block, self._sizes = block, sizes
        weakref.finalize(self, os.close, block)
        self._starts = len(sizes) + PIXEL * np.concatenate([[0], sizes.prod(1).cumsum()])
        os.ftruncate(block, self.nbytes)
        self._bytes = np.frombuffer(mmap.mmap(block, self.nbytes, prot=mmap.PROT_READ), np.uint8)

    @property
    def nbytes(self) -> int:
        """Size of the block: the samples, and one byte for each that says whether it is present."""
        return int(self._starts[-1])

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._block), self._sizes  # pass the block itself to a new process, not a copy

    def __setstate__(self, state: Any) -> None:
        block, sizes = state
        self._hold(block.detach(), sizes)

    def get(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Image (H x W x 3), label and edge map (H x W) of a sample, uint8 and read-only; None while it is absent."""
        if not self._bytes[index]:
            return None
        height, width = self._sizes[index]
        sample = self._bytes[self._starts[index] : self._starts[index + 1]].reshape(PIXEL, -1)
        image, label, edge = sample[:3], sample[3], sample[4]
        return image.reshape(height, width, 3), label.reshape(height, width), edge.reshape(height, width)

    def put(self, index: int, image: np.ndarray, label: np.ndarray, edge: np.ndarray) -> None:
        """Keep a sample. Two processes that do so at once write the same bytes; the flag comes last.

        A sample whose size has changed since, or for which memory is lacking, is not kept.
        """
        if label.shape != tuple(self._sizes[index]):
            return
        with suppress(OSError):
            if os.pwritev(self._block, [image.data, label.data, edge.data], self._starts[index]) == PIXEL * label.size:
                os.pwrite(self._block, b"\1", index)


def open_cache(
    samples: Iterable[Sample], mode: Literal["auto", "off", "on"], *, processes: int = 1
) -> tuple[SampleCache | None, str]:
    """A cache for these samples, and a line for the user (empty where the mode is `off`).

    Label files are opened to read their sizes: some 30 ms for a thousand, plus the time of the disk. The loader
    processes of this process share the cache; other training processes on this machine have their own.

    Args:
        mode: `auto` goes on without a cache where memory is short; `on` raises an error.
        processes: number of processes on this machine that open a cache of these samples at about the same time.

    Raises:
        SettingsError: `on`, but there is no room, or this system has no such memory.
    """
    if mode == "off":
        return None, ""
    if problem := shared_cache_problem():
        if mode == "on":
            raise SettingsError(f"data.cache = 'on': {problem}; use auto or off")
        return None, f"files are decoded anew each epoch: {problem}"
    sizes = [_size(sample) for sample in samples]
    needed, free = sum(PIXEL * height * width for height, width in sizes), free_memory()
    among = f" among {processes} processes" if processes > 1 else ""
    lack = f"{_gib(free)} is free{among}, of which it may take {SHARE[mode]:.0%}"
    if needed <= free * SHARE[mode] / processes:
        try:
            return SampleCache(sizes), f"decoded samples stay in memory, {_gib(needed)}"
        except OSError as error:
            lack = error.strerror or str(error)
    if mode == "on":
        raise SettingsError(f"data.cache = 'on': the cache needs {_gib(needed)}, but {lack}; use auto or off")
    return None, f"files are decoded anew each epoch: a cache needs {_gib(needed)}, but {lack}"


def _size(sample: Sample) -> Size:
    """Size of a sample's three pictures. 0 x 0 where the label cannot be read: a later read tells why."""
    try:
        return read_size(sample.label)
    except DatasetError:
        return 0, 0


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
