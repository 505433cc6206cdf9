"""One function over many files, in processes or threads, with whoever watches told of the progress."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from typing import Protocol, TypeVar

import cv2

from faceparse.core.errors import ResourceError

T = TypeVar("T")
R = TypeVar("R")

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Signals that ask to stop; SIGUSR1 is what SLURM is told to send before it requeues a job."""


class Track(Protocol):
    """Hands on what it is given, showing how far it is: a progress bar, or nothing."""

    def __call__(self, items: Iterable[R], total: int | None, what: str, /) -> Iterable[R]:
        """`total` is None where nobody knows."""


def untracked(items: Iterable[R], _total: int | None, _what: str, /) -> Iterable[R]:
    return items


def default_processes() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_context(*preload: str) -> BaseContext:
    """How child processes are started. A server that forks them is safe beside threads, where a plain fork is not
    (OpenCV's deadlock), and cheaper than starting each afresh; the server imports the `preload` modules once for all.
    """
    if os.name != "posix":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    if threading.current_thread() is threading.main_thread():
        _start_server()
    return context


def _start_server() -> None:
    """Start the server deaf to what asks a whole process group to stop: its end would look like that of all workers,
    whose work is still wanted. What is ignored when a program starts stays ignored in it and in what it forks.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def map_files(function: Callable[[T], R], items: Sequence[T], processes: int) -> Iterator[R]:
    """`function(item)` for each item, in order; with one process (or one item) without starting any.

    `function` must be picklable. Its first exception is raised here and ends the rest. Few items are under way at a
    time, so that memory does not grow with their number.

    Raises:
        ResourceError: a process was killed.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield from map(function, items)
        return
    size = max(1, min(16, len(items) // (processes * 4)))
    chunks = (items[start : start + size] for start in range(0, len(items), size))
    pool = ProcessPoolExecutor(processes, mp_context=process_context(), initializer=start_worker)
    try:
        under_way = deque(pool.submit(_call_each, function, chunk) for chunk in islice(chunks, 4 * processes))
        while under_way:
            yield from under_way.popleft().result()
            under_way.extend(pool.submit(_call_each, function, chunk) for chunk in islice(chunks, 1))
    except BrokenProcessPool:
        raise ResourceError(
            "a worker process was killed; if memory ran out, use fewer by --processes, and start the command again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _call_each(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    return [function(item) for item in items]


def map_threads(function: Callable[[T], R], items: Iterable[T], threads: int, *, ahead: int) -> Iterator[R]:
    """`function(item)` for each item, in order, in threads: for work that OpenCV, zlib or a codec does without Python.

    At most `ahead` items are under way or done and not yet taken, so that memory does not grow with their number;
    `items` is drawn from in the caller's thread. The first exception is raised here and ends the rest.
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


def start_worker(_: int = 0) -> None:
    """What every child process does first; also a `worker_init_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how a broken pool ends its processes
    cv2.setNumThreads(1)  # the processes are the parallelism
    end_with_parent()


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed ends nobody. The server that forked this process lives on, so that neither is its
    end of a pipe closed nor its id changed: only the sentinel tells.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
