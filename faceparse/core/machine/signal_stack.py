"""Keeps the stack on which this thread's signal handlers run, where a library would leave one that is gone."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` of `sigaltstack(2)`, as Linux has it."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Give this thread's alternate signal stack back when the block ends.

    OpenVINO sets one of its own for each core, and puts the one before back when the core goes. Cores that do not go
    in the opposite order leave the stack of one that is gone; the next signal, such as Ctrl-C, then ends Python with
    a segmentation fault. A stack that is not its own OpenVINO leaves alone, so once is enough.
    """
    if sys.platform != "linux":
        yield
        return
    libc = ctypes.CDLL(None)
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
