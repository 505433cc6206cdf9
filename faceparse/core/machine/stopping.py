"""Lets SIGTERM, by which schedulers and shutdowns end a process, end work as Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from faceparse.core.errors import InterruptedRunError


@contextmanager
def ending_cleanly(message: str) -> Iterator[None]:
    """Turn SIGTERM into a KeyboardInterrupt within the block, so that it puts its files in order.

    Outside of it, this is InterruptedRunError with `message` and exit code 143, 128 + SIGTERM. In other threads than
    the main one, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        if stopped:
            raise InterruptedRunError(message, 128 + signal.SIGTERM) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
