"""A run directory that was copied. Two of them must not write into one MLflow run."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from faceparse.core.errors import SettingsError
from faceparse.core.runs.tracking_record import InputDataset, TrackingRecord, read_tracking


def original_of(folder: Path, tracking: TrackingRecord) -> Path | None:
    """Run directory that `folder` is a copy of; None where it is none, or where it was moved.

    A copy's tracking record still names the folder that it was copied from, and that folder still has the same run.

    Args:
        tracking: that of `folder`.
    """
    if tracking.folder is None or (named := Path(tracking.folder)) == folder.resolve():
        return None
    try:
        if not named.is_dir() or named.samefile(folder):
            return None
        other = read_tracking(named)
    except (OSError, SettingsError, ValueError):  # a name that no folder has, or one that cannot be read
        return None
    return named if other is not None and other.key == tracking.key else None


def tracking_of_copy(
    tracking: TrackingRecord,
    folder: Path,
    *,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    datasets: Sequence[InputDataset],
) -> TrackingRecord:
    """Tracking record of a copied run directory's own MLflow run, which gets everything since the run began.

    Args:
        tracking: the one that was copied along.
        name: name of the new MLflow run.
    """
    files = dict(tracking.files)
    if tracking.best_artifact and (folder / (best := PurePosixPath(tracking.best_artifact)).name).is_file():
        files[best.name] = str(best.parent)
    known = {"best_epoch": str(tracking.best_epoch)} if tracking.best_epoch is not None else {}
    return replace(
        tracking,
        key=secrets.token_hex(8),
        run_name=name,
        run_id=None,
        params=dict(params),
        tags={**tags, **known},
        datasets=list(datasets),
        files=files,
        evaluations=[],
        delivered=0,
        told=None,
        linked_epoch=None,
        refused={},
    )
