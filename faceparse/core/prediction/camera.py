"""Reads a camera's pictures until Ctrl-C."""

import signal
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Self

import cv2

from faceparse.core.errors import DeviceError
from faceparse.core.prediction.video import Frame


class Camera:
    """A webcam as a film. Enter it, then read it once.

    While it is entered, the first Ctrl-C ends it like the end of a file, and what was filmed is kept. A second Ctrl-C
    interrupts the program.
    """

    time_base = Fraction(1, 1000)
    rate = Fraction(30)
    """Frames per second. Only a hint: each frame has its own time."""
    total: int | None = None
    problem: str | None = None
    sound: str | None = None

    def __init__(self, number: int) -> None:
        self.where = f"webcam:{number}"
        self._number = number
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        """Open the camera.

        Raises:
            DeviceError: there is no such camera.
        """
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_SILENT
        )  # OpenCV logs each way in which it tries to open a camera
        self._capture: Any = cv2.VideoCapture(self._number)
        if not self._capture.isOpened():
            raise DeviceError(f"{self.where}: no such camera here, or another program has it; see /dev/video*")
        self._before = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)
        self._capture.release()

    def _stop(self, *_: object) -> None:
        self._stopped.set()
        signal.signal(signal.SIGINT, self._before)

    def frames(self) -> Iterator[Frame]:
        """Yield frames as they come."""
        started, last = time.monotonic(), -1
        while not self._stopped.is_set():
            there, picture = self._capture.read()
            if not there:
                return
            last = max(last + 1, round(1000 * (time.monotonic() - started)))
            yield Frame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), last)
