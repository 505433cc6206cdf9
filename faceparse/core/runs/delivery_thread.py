"""The thread that delivers to MLflow what a run notes while it trains."""

import threading
from collections.abc import Callable

from faceparse.core.runs.delivery import Delivery
from faceparse.core.runs.mlflow_failures import reason
from faceparse.core.runs.shared_tracking import SharedTracking, TrackingClosedError
from faceparse.core.runs.tracking_record import Line, Say
from faceparse.core.text.address import VARIABLE, whole_address

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds between two tries; each pause is twice the one before."""


class DeliveryThread(threading.Thread):
    """Delivers what is noted until the run ends, with growing pauses while MLflow fails.

    It belongs to the process that holds the run directory.
    """

    def __init__(self, shared: SharedTracking, lines: Callable[[], list[Line]], warn: Say, say: Say) -> None:
        super().__init__(name="mlflow", daemon=True)
        self._shared, self._lines, self._warn, self._say = shared, lines, warn, say
        self._work, self._ending = threading.Event(), threading.Event()
        self._problem = ""
        self.tried = threading.Event()
        """Set after the first answer or failure of MLflow."""
        self.delivery = Delivery(shared, lines, warn=warn, on_contact=self.tried.set)

    def wake(self) -> None:
        """Make the thread look for new notes."""
        self._work.set()

    def finish(self, patience: float) -> None:
        """Wait up to `patience` seconds for the last try, close the record, and warn of what is not delivered."""
        self._ending.set()
        self._work.set()
        try:
            self.join(patience)
        finally:
            self._shared.close()
        if rest := self._shared.outstanding(self._lines()):
            uri, folder = self._shared.tracking.uri, self._shared.folder
            why = f" ({self._problem})" if self._problem else ""
            secret = whole_address(uri) != uri
            hint = f" (user and password are kept nowhere: set {VARIABLE} to the whole address)" if secret else ""
            self._warn(f"MLflow at {uri}: not delivered: {rest}{why}; later: faceparse sync {folder}{hint}")

    def run(self) -> None:
        """Try to deliver until the run ends."""
        uri, pause, lost = self._shared.tracking.uri, FIRST_PAUSE, False
        while True:
            self._work.clear()  # first, so that later notes wake the thread again
            last = self._ending.is_set()
            try:
                self.delivery.try_once()
            except TrackingClosedError:
                return
            except Exception as error:  # no error of MLflow ends the run
                self._problem = reason(error)
                if not lost and not last:
                    self._warn(f"MLflow at {uri} failed, the run goes on and tries again: {self._problem}")
                lost = True
                self.tried.set()
                if not last:
                    self._ending.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
            else:
                if lost:
                    self._say(f"MLflow at {uri} is back, everything so far is delivered")
                pause, lost, self._problem = FIRST_PAUSE, False, ""
            if last:
                return
            self._work.wait()
