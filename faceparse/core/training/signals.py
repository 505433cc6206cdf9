"""Being told to stop: by Ctrl-C, by a scheduler, by a shutdown."""

import signal
import threading
from types import FrameType
from typing import Any, Self

from faceparse.core.parallel import STOPPING


class StopSignals:
    """While it is entered, the first such signal is only noted, for the training loop to stop at its next step.

    A second Ctrl-C interrupts at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for anything else: 128 + SIGINT or SIGTERM."""
        return 128 + (signal.SIGINT if self.received == signal.SIGINT else signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
