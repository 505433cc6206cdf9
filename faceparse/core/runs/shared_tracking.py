"""A run's tracking record for two threads: training, which notes, and the thread that delivers to MLflow."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from faceparse.core.runs.tracking_record import Line, Parcel, TrackingRecord, outstanding, write_tracking


class TrackingClosedError(Exception):
    """The run directory was released during a delivery."""


class SharedTracking:
    """Tracking record of one run directory, written to tracking.json with every change.

    The process that holds the run directory makes one. Nobody else writes tracking.json meanwhile.
    """

    def __init__(self, folder: Path, tracking: TrackingRecord) -> None:
        """Take the tracking record of the run directory `folder`. Write nothing yet."""
        self.folder, self.tracking = folder, tracking
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[TrackingRecord]:
        """Keep the other thread from changing the tracking. Hold it only for a moment: training waits for this lock."""
        with self._lock:
            yield self.tracking

    @contextmanager
    def changing(self) -> Iterator[TrackingRecord]:
        """Change the record and write it.

        Raises:
            TrackingClosedError: the run has ended.
            OutputError: it cannot be written.
        """
        with self._lock:
            self.must_be_open()
            yield self.tracking
            write_tracking(self.folder, self.tracking)

    def outstanding(self, lines: Sequence[Line]) -> Parcel:
        """Counts of everything that MLflow still lacks; `lines` are those of metrics.jsonl."""
        return outstanding(self.tracking, lines)

    def must_be_open(self) -> None:
        """Raise TrackingClosedError if the run has ended."""
        if self._closed:
            raise TrackingClosedError

    def close(self) -> None:
        """Refuse all further changes, because the run directory is about to be released."""
        with self._lock:
            self._closed = True
