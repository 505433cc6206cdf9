"""Deliver a finished or broken-off run to MLflow later."""

from dataclasses import dataclass
from pathlib import Path

from faceparse.core.errors import FaceparseError
from faceparse.core.runs.copies import original_of
from faceparse.core.runs.delivery import open_delivery
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.runs.tracking_record import Evaluated, Parcel, read_tracking, write_tracking


@dataclass(frozen=True)
class Synced:
    """Outcome of a delivery."""

    delivered: Parcel
    run_id: str | None
    uri: str | None


def sync(run_dir: Path) -> Synced:
    """Deliver what MLflow does not hold yet. A run whose process died in training ends as KILLED.

    Raises:
        SettingsError: not a run directory, or its tracking.json is damaged.
        OutputError: a process is training in it, and delivers itself.
        TrackingError: the run is not tracked, the folder is a copy of another run's, or MLflow does not take it.
    """
    directory = RunDirectory.reopen(run_dir)
    try:
        delivery = open_delivery(directory.path, directory.metrics)
        delivered, tracking = delivery.deliver_rest(), delivery.shared.tracking
        return Synced(delivered, tracking.run_id, tracking.uri)
    finally:
        directory.close()


def leave_to_sync(run_dir: Path, run_id: str | None, done: Evaluated) -> bool:
    """Note an evaluation that MLflow did not take, for a later `faceparse sync`.

    Args:
        run_id: None where the run itself is not in MLflow yet.

    Returns:
        False where `run_dir` is no directory of the run, is a copy of it, or is in use.
    """
    try:
        directory = RunDirectory.reopen(run_dir)
    except FaceparseError:
        return False
    try:
        tracking = read_tracking(run_dir)
        if tracking is None or tracking.run_id != run_id or original_of(run_dir, tracking):
            return False
        others = [noted for noted in tracking.evaluations if noted.place != done.place]
        tracking.evaluations = [*others, done]
        write_tracking(run_dir, tracking)
    except FaceparseError:
        return False
    finally:
        directory.close()
    return True
