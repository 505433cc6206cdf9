"""The address of MLflow's store; and its local database: its file, and its paths after a move."""

import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from faceparse.core.errors import SettingsError
from faceparse.core.settings import TrackingSettings
from faceparse.core.text.address import VARIABLE, public_address

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"
"""Folder beside a database that holds its runs' files."""

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns in which MLflow keeps absolute paths of files."""


def tracking_uri(settings: TrackingSettings) -> str:
    """The setting, else MLFLOW_TRACKING_URI, else SQLite in the working folder. The path of a database is absolute.

    User and password are left out: `whole_address` has them.
    """
    uri = settings.uri or public_address(os.environ.get(VARIABLE, "")) or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{database_file(uri)}" if is_local(uri) else uri


def is_local(uri: str) -> bool:
    """Whether the URI names a database file."""
    return uri.startswith(SQLITE)


def database_file(uri: str) -> Path:
    """Absolute path of the database that a local URI names.

    Raises:
        SettingsError: MLflow would read another path from the URI.
    """
    path = Path(uri.removeprefix(SQLITE)).absolute()
    if found := re.search(r"\?|%[0-9A-Fa-f]{2}", str(path)):
        raise SettingsError(
            f"MLflow store {SQLITE}{path}: a database's path cannot have {found[0]!r} in it; rename the folder, or "
            f"name another place: tracking.uri = {f'{SQLITE}/PATH/mlflow.db'!r} (or MLFLOW_TRACKING_URI)"
        )
    return path


def present_uri(uri: str, folder: Path, run_id: str | None) -> str:
    """The URI, or that of the database that was moved together with the run directory `folder` and has its run.

    Args:
        run_id: None before MLflow knows the run.
    """
    if not is_local(uri) or (named := Path(uri.removeprefix(SQLITE))).exists():
        return uri
    for parent in (*folder.absolute().parents, Path.cwd()):
        if (found := parent / named.name).is_file() and (run_id is None or _holds_run(found, run_id)):
            return f"{SQLITE}{found}"
    return uri


def copied_uri(uri: str, folder: Path, run_id: str | None) -> str | None:
    """URI of the database that was copied together with the run directory `folder`, with its run; None without one."""
    if not is_local(uri) or run_id is None:
        return None
    named = Path(uri.removeprefix(SQLITE))
    for parent in folder.absolute().parents:
        is_other = (found := parent / named.name).is_file() and not (named.exists() and found.samefile(named))
        if is_other and _holds_run(found, run_id):
            return f"{SQLITE}{found}"
    return None


def _holds_run(file: Path, run_id: str) -> bool:
    with suppress(sqlite3.Error), closing(_open(file)) as database:
        return database.execute("select 1 from runs where run_uuid = ?", [run_id]).fetchone() is not None
    return False


def _open(file: Path) -> sqlite3.Connection:
    """Open an existing database. Never make a new one."""
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=20)


def beside(file: Path, location: str) -> str:
    """Where the files of `location` are now: beside the database, if both were moved or copied together."""
    _, found, name = location.rpartition(f"/{ARTIFACTS}/")
    old, new = _path(location), file.parent / ARTIFACTS / unquote(name)
    if not found or old is None or old == new or (old.exists() and not new.exists()):
        return location
    return new.as_uri()


def _path(location: str) -> Path | None:
    """Folder of a `file:` location; None where it is no folder of this machine."""
    parts = urlsplit(location)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in ("", "localhost") else None


def follow_move(file: Path) -> str | None:
    """Update the file paths in a database that was moved. Otherwise MLflow would make the old folder again.

    Returns:
        The move, in one line; None where nothing was moved.

    Raises:
        sqlite3.Error: the database cannot be read, or has to be changed and cannot.
    """
    with closing(_open(file)) as database:
        if not _columns(database, "experiments"):
            return None
        locations = [location for (location,) in database.execute("select artifact_location from experiments")]
    moved = {old: new for old in locations if old and (new := beside(file, old)) != old}
    if not moved:
        return None
    with closing(_open(file)) as database, database:
        for table, column in _PLACES:
            if column in _columns(database, table):
                change = (
                    f"update {table} set {column} = ? || substr({column}, ?) where substr({column} || '/', 1, ?) = ?"
                )
                for old, new in moved.items():
                    database.execute(change, [new, len(old) + 1, len(old) + 1, f"{old}/"])
    (old, *_) = moved
    before = unquote(old.rpartition(f"/{ARTIFACTS}/")[0]).removeprefix("file://")
    return (
        f"MLflow's database and files were moved from {before} to {file.parent}; the database now names the new place"
    )


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"pragma table_info({table})")}
