"""Apply one function to many files, in processes or threads, and report the progress."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import Protocol, TypeVar

import cv2

from faceparse.core.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals that ask to stop. SLURM can be told to send SIGUSR1 before it requeues a job."""


class Track(Protocol):
    """Passes items on and shows the progress: a progress bar, or nothing."""

    def __call__(self, items: Iterable[R], total: int | None, what: str, /) -> Iterable[R]:
        """Yield the items. `total` is None where it is not known."""


def untracked(items: Iterable[R], _total: int | None, _what: str, /) -> Iterable[R]:
    """Pass items on without showing anything."""
    return items


def default_processes() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_context(*preload: str) -> BaseContext:
    """Way to start child processes: a server that forks them on POSIX systems, fresh processes elsewhere.

    Such a server is safe beside threads, where a plain fork is not (OpenCV's deadlock), and cheaper than a fresh start
    of each process. It imports the `preload` modules once for all.
    """
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    _start_server()
    return context


def _start_server() -> None:
    """Start the fork server so that signals which ask a whole process group to stop do not reach it or its forks.

    If they ended, work under way would be lost that is still wanted. They are blocked, not ignored: a process inherits
    what is blocked, and a library that sets handlers as the process starts (PyTorch) cannot undo it.
    """
    from multiprocessing import forkserver, resource_tracker  # POSIX systems have them

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        resource_tracker.ensure_running()  # the server needs it, and its start unblocks signals
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_HIDING = threading.Lock()


@contextmanager
def script_hidden() -> Iterator[None]:
    """Start processes in this block: they do not run the user's script again, each from its first line.

    Python wants them to, because they may be sent what the script defines. Nothing of ours is defined there. So a
    script that calls faceparse needs no `if __name__ == "__main__"`. The block must be short. Other threads find all
    names of the script meanwhile, in a copy of its module.
    """
    with _HIDING:
        script, copy = sys.modules["__main__"], ModuleType("__main__")
        vars(copy).update({name: value for name, value in vars(script).items() if name not in ("__file__", "__spec__")})
        sys.modules["__main__"] = copy
        try:
            yield
        finally:
            sys.modules["__main__"] = script


def map_files(function: Callable[[T], R], items: Sequence[T], processes: int) -> Iterator[R]:
    """`function(item)` for each item, in order, computed in processes. One process or one item starts none.

        for size in map_files(read_size, paths, processes=4):
            ...

    `function` must be picklable, and not defined in the script that Python started. Its first exception is raised here
    and ends the rest. Few items are under way at a time, so that memory does not grow with their number.

    Raises:
        ResourceError: a process was killed.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield from map(function, items)
        return
    size = max(1, min(16, len(items) // (processes * 4)))
    chunks = (items[start : start + size] for start in range(0, len(items), size))
    pool = ProcessPoolExecutor(processes, mp_context=process_context(), initializer=_start_pool_worker)

    def submit(count: int) -> Iterator[Future[list[R]]]:
        for chunk in islice(chunks, count):
            with script_hidden():  # the pool starts a process where all that it has are busy
                future = pool.submit(_call_each, function, chunk)
            yield future

    try:
        under_way = deque(submit(4 * processes))
        while under_way:
            yield from under_way.popleft().result()
            under_way.extend(submit(1))
    except BrokenProcessPool:
        raise ResourceError(
            "a worker process was killed; if memory ran out, use fewer by --processes, and start the command again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _call_each(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def map_threads(function: Callable[[T], R], items: Iterable[T], threads: int, *, ahead: int) -> Iterator[R]:
    """`function(item)` for each item, in order, computed in threads: for OpenCV, zlib or a codec, which release Python.

    At most `ahead` items are under way or waiting to be taken, so that memory does not grow with their number. `items`
    is read in the caller's thread. The first exception is raised here and ends the rest.
    """
    pool = ThreadPoolExecutor(threads)
    under_way: deque[Future[R]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def start_worker() -> None:
    """Prepare a child process: its threads, its end, and that Ctrl-C is left to its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # the processes are the parallelism
    end_with_parent()


def _start_pool_worker() -> None:
    start_worker()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a broken pool ends its processes by it
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def end_with_parent() -> None:
    """Make this process end when its parent ends, for any reason."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the parent's end, then exit.

    A parent that was killed cannot end its children. The server that forked this process lives on, so this process's
    pipe stays open and its parent id stays the same: only the sentinel tells.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
