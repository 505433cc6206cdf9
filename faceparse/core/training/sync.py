"""A finished or broken-off run, delivered to MLflow later."""

from dataclasses import dataclass
from pathlib import Path

from faceparse.core.tracking.ledger import Parcel, read_ledger
from faceparse.core.tracking.tracker import Tracker
from faceparse.core.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Synced:
    delivered: Parcel
    run_id: str | None
    uri: str | None


def sync(run_dir: Path) -> Synced:
    """Deliver what MLflow does not hold yet. A run whose process died while it trained ends as KILLED.

    Raises:
        SettingsError: not a run directory, or its tracking.json is damaged.
        OutputError: a process is training into it, and delivers itself.
        TrackingError: the run is not tracked, or MLflow does not take it.
    """
    directory = RunDirectory.reopen(run_dir)
    try:
        tracker = Tracker(directory.path, read_ledger(directory.path), directory.metrics)
        return Synced(tracker.deliver_rest(), tracker.run_id, tracker.uri)
    finally:
        directory.close()
