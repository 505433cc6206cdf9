"""A run directory that was copied. Two of them must not write into one MLflow run."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from faceparse.core.errors import SettingsError
from faceparse.core.runs.ledger import InputDataset, Ledger, read_ledger


def original_of(folder: Path, ledger: Ledger) -> Path | None:
    """Run directory that `folder` is a copy of; None where it is none, or where it was moved.

    A copy's ledger still names the folder that it was copied from, and that folder still has the same run.

    Args:
        ledger: that of `folder`.
    """
    if ledger.folder is None or (named := Path(ledger.folder)) == folder.resolve():
        return None
    try:
        if not named.is_dir() or named.samefile(folder):
            return None
        other = read_ledger(named)
    except (OSError, SettingsError, ValueError):  # a name that no folder has, or one that cannot be read
        return None
    return named if other is not None and other.key == ledger.key else None


def ledger_of_copy(
    ledger: Ledger,
    folder: Path,
    *,
    name: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    datasets: Sequence[InputDataset],
) -> Ledger:
    """Ledger of a copied run directory's own MLflow run, which gets everything since the run began.

    Args:
        ledger: the one that was copied along.
        name: name of the new MLflow run.
    """
    files = dict(ledger.files)
    if ledger.best_artifact and (folder / (best := PurePosixPath(ledger.best_artifact)).name).is_file():
        files[best.name] = str(best.parent)
    known = {"best_epoch": str(ledger.best_epoch)} if ledger.best_epoch is not None else {}
    return replace(
        ledger,
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
