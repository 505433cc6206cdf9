"""A run's ledger for two threads: training, which notes, and the thread that delivers to MLflow."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceparse.core.runs.ledger import Ledger, Line, Parcel, outstanding, write_ledger


class LedgerClosedError(Exception):
    """The run directory was released during a delivery."""


class SharedLedger:
    """Ledger of one run directory, written to tracking.json with every change.

    The process that holds the run directory makes one. Nobody else writes tracking.json meanwhile.
    """

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """Take the ledger of the run directory `folder`. Write nothing yet."""
        self.folder, self.ledger = folder, ledger
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """Keep the other thread from changing the ledger. Hold it only for a moment: training waits for this lock."""
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
        """Counts of everything that MLflow still lacks; `lines` are those of metrics.jsonl."""
        return outstanding(self.ledger, lines)

    def must_be_open(self) -> None:
        """Raise LedgerClosedError if the run has ended."""
        if self._closed:
            raise LedgerClosedError

    def close(self) -> None:
        """Refuse all further changes, because the run directory is about to be released."""
        with self._lock:
            self._closed = True
