"""A run's ledger while two threads change it: training, which notes, and the thread that delivers to MLflow."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceparse.core.runs.ledger import Ledger, Line, Parcel, outstanding, write_ledger


class LedgerClosedError(Exception):
    """The run directory was let go while something was being delivered."""


class SharedLedger:
    """The ledger of one run directory, written to tracking.json with every change.

    Whoever holds the run directory makes one; nobody else writes tracking.json meanwhile.
    """

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """Take the ledger of the run directory `folder`; nothing is written yet."""
        self.folder, self.ledger = folder, ledger
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """Keep the other thread from changing the ledger. Only ever for a moment: training waits for this lock."""
        with self._lock:
            yield self.ledger

    @contextmanager
    def changing(self) -> Iterator[Ledger]:
        """Change the ledger and write it.

        Raises:
            LedgerClosedError: the run has ended.
            OutputError: it cannot be written.
        """
        with self._lock:
            self.must_be_open()
            yield self.ledger
            write_ledger(self.folder, self.ledger)

    def outstanding(self, lines: Sequence[Line]) -> Parcel:
        """Returns what MLflow still has to hear; `lines` are those of metrics.jsonl."""
        return outstanding(self.ledger, lines)

    def must_be_open(self) -> None:
        """Raise LedgerClosedError where the run has ended."""
        if self._closed:
            raise LedgerClosedError

    def close(self) -> None:
        """Let nobody change the ledger from here on: the run directory is about to be let go."""
        with self._lock:
            self._closed = True
