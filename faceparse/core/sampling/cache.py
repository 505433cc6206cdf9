"""Decoded samples in memory that all loader processes share: files are read once a run, not once an epoch."""

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
from faceparse.core.machine.memory import free_memory

PIXEL = 5
"""Bytes: three of the image, one of the label, one of the edge map."""

SHARE = {"auto": 0.5, "on": 0.9}
"""Of the free memory, what a cache may have. The rest is for the network, which on a CPU lives there too, for batches
and for files."""


class SampleCache:
    """Image, label and edge map of each sample as they were decoded, put in by whoever reads a sample first.

    The block is a file in memory without a name: /dev/shm, which containers keep small, has no part in it, and it ends
    with the last process that holds it. It is mapped for reading alone, so that nothing can change a sample, and filled
    by writing to the file: should memory run out after all, that is an error, where mapped memory would be a SIGBUS.
    """

    def __init__(self, sizes: Sequence[Size]) -> None:
        """Take up address space; memory is taken by the samples as they come.

        Raises:
            OSError: the system gives no such block.
        """
        block = os.memfd_create("faceparse-samples")
        self._hold(block, np.array(sizes, np.int64).reshape(-1, 2))
        os.pwrite(block, bytes(len(sizes)), 0)  # the flags are there from the start: they are read before any is set

    def _hold(self, block: int, sizes: np.ndarray) -> None:
        self._block, self._sizes = block, sizes
        weakref.finalize(self, os.close, block)
        self._starts = len(sizes) + PIXEL * np.concatenate([[0], sizes.prod(1).cumsum()])
        os.ftruncate(block, self.nbytes)
        self._bytes = np.frombuffer(mmap.mmap(block, self.nbytes, prot=mmap.PROT_READ), np.uint8)

    @property
    def nbytes(self) -> int:
        """Size of the block: a byte a sample that says whether it is there, and the samples."""
        return int(self._starts[-1])

    def __getstate__(self) -> Any:
        return reduction.DupFd(
            self._block
        ), self._sizes  # the block itself, not a copy, goes to a process that is started

    def __setstate__(self, state: Any) -> None:
        block, sizes = state
        self._hold(block.detach(), sizes)

    def get(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Image (H x W x 3), label and edge map (H x W) of a sample, uint8 and not writeable; None while not there."""
        if not self._bytes[index]:
            return None
        height, width = self._sizes[index]
        sample = self._bytes[self._starts[index] : self._starts[index + 1]].reshape(PIXEL, -1)
        image, label, edge = sample[:3], sample[3], sample[4]
        return image.reshape(height, width, 3), label.reshape(height, width), edge.reshape(height, width)

    def put(self, index: int, image: np.ndarray, label: np.ndarray, edge: np.ndarray) -> None:
        """Keep a sample. Two that do so at once write the same bytes; the flag comes last.

        A sample that is no longer of the size that its file had, or for which memory is lacking, stays outside.
        """
        if label.shape != tuple(self._sizes[index]):
            return
        with suppress(OSError):
            if os.pwritev(self._block, [image.data, label.data, edge.data], self._starts[index]) == PIXEL * label.size:
                os.pwrite(self._block, b"\1", index)


def open_cache(
    samples: Iterable[Sample], mode: Literal["auto", "off", "on"], *, processes: int = 1
) -> tuple[SampleCache | None, str]:
    """A cache for these samples, and a line for the user (empty where it is `off`).

    Label files are opened for their sizes: some 30 ms for a thousand, and what the disk takes to find them. The cache
    goes to the loader processes of this process: others that train on this machine have their own.

    Args:
        mode: `auto` does without a cache where memory is short; `on` refuses.
        processes: how many on this machine open a cache of these samples at about the same time.

    Raises:
        SettingsError: `on`, but there is no room.
    """
    if mode == "off":
        return None, ""
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
    """Of all three pictures; nothing where it cannot be read: reading the sample will tell why."""
    try:
        return read_size(sample.label)
    except DatasetError:
        return 0, 0


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
