"""Signals that ask a run to stop: Ctrl-C, a scheduler, a shutdown."""

import signal
import threading
from types import FrameType
from typing import Any, ClassVar, Self

from faceparse.core.machine.parallel import STOPPING


class StopSignals:
    """Context that notes the first stop signal, so that the training loop stops at its next step.

    A second Ctrl-C interrupts at once, unless another process passes signals on: then a single Ctrl-C arrives twice.
    """

    newest: ClassVar[signal.Signals | None] = None
    """Newest stop signal that this process received in such a context; None before the first."""

    def __init__(self, handed_on: bool = False) -> None:
        self._handed_on = handed_on
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number and not self._handed_on:
            raise KeyboardInterrupt
        self.received = StopSignals.newest = signal.Signals(number)


def exit_code(number: int) -> int:
    """130 after Ctrl-C, 143 after any other signal: 128 + SIGINT or SIGTERM."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
