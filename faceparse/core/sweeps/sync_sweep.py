"""Deliver a sweep and its trials to MLflow later."""

from pathlib import Path

from faceparse.core.runs import sync
from faceparse.core.runs.delivery import open_delivery
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.runs.sync import Synced
from faceparse.core.runs.tracking_record import TRACKING_FILE, read_tracking
from faceparse.core.sweeps.sweep_file import best_of, read_record, write_record
from faceparse.core.sweeps.trials import best_tags


def sync_sweep(sweep_dir: Path) -> dict[Path, Synced]:
    """Deliver what MLflow does not hold yet: first the sweep's own run, which becomes the parent of its trials.

    Raises:
        FaceparseError: as for a single run; what was delivered before stays delivered.
    """
    done = {sweep_dir: sync.sync(sweep_dir)}
    for state in sorted(sweep_dir.glob(f"trial-*/{TRACKING_FILE}")):
        done[state.parent] = sync.sync(state.parent)
    _name_best(sweep_dir)
    return done


def _name_best(sweep_dir: Path) -> None:
    """Tell the sweep's run the id of its best trial, which was unknown while MLflow was away."""
    directory = RunDirectory.reopen(sweep_dir)
    try:
        record = read_record(sweep_dir)
        nameless = [trial for trial in record.trials if trial.run_id is None]
        for trial in nameless:
            tracking = read_tracking(sweep_dir / trial.name)
            trial.run_id = tracking.run_id if tracking else None
        write_record(sweep_dir, record)
        best = best_of(record.trials)
        if record.purpose == "sweep" and best in nameless and best is not None:
            delivery = open_delivery(sweep_dir, directory.metrics)
            with delivery.shared.changing() as tracking:
                tracking.tags.update(best_tags(best))
            delivery.deliver_rest()
    finally:
        directory.close()
