"""MLflow: the only file that imports it."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from faceparse.core.errors import SettingsError
from faceparse.core.settings import TrackingSettings

# A dead server must cost seconds, not the four minutes of the client's own patience.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

SQLITE = "sqlite:///"
_FAILURES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)  # requests' errors are OSErrors

Status = Literal["FINISHED", "FAILED", "KILLED"]
Warn = Callable[[str], None]


def tracking_uri(settings: TrackingSettings) -> str:
    """The setting, else MLFLOW_TRACKING_URI, else SQLite in the working folder; a database's path is absolute."""
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri


def _open(uri: str) -> MlflowClient:
    """A client for `uri`. A broken database is found here at once: MLflow itself would try for minutes."""
    if uri.startswith(SQLITE):
        with closing(sqlite3.connect(uri.removeprefix(SQLITE), timeout=5)) as database:
            database.execute("pragma schema_version").fetchone()
    return MlflowClient(uri)


class Tracker:
    """One MLflow run. Once MLflow fails it says so and does nothing more: training is worth more than its record."""

    def __init__(self, client: MlflowClient | None, run_id: str | None, uri: str | None, warn: Warn) -> None:
        self._client = client
        self.run_id = run_id
        self.uri = uri
        self._warn = warn

    @classmethod
    def start(
        cls,
        settings: TrackingSettings,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_name: str,
        warn: Warn,
        run_id: str | None = None,
    ) -> "Tracker":
        """Open a new run, or go on with `run_id`."""
        tracker = cls(None, run_id, None, warn)
        if not settings.enabled:
            return tracker
        tracker.uri = tracking_uri(settings)
        with tracker._forgiving():
            client = _open(tracker.uri)
            if run_id is None:
                experiment = _experiment(client, settings.experiment, tracker.uri)
                run_id = client.create_run(experiment, run_name=settings.run_name or run_name).info.run_id
                client.log_batch(
                    run_id,
                    params=[Param(key, str(value)) for key, value in params.items()],
                    tags=[RunTag(key, value) for key, value in tags.items()],
                )
            else:
                client.update_run(run_id, status="RUNNING")
            tracker._client, tracker.run_id = client, run_id
        return tracker

    @classmethod
    def attach(cls, uri: str, run_id: str, warn: Warn) -> "Tracker":
        """The run that made a checkpoint, to log more into it."""
        tracker = cls(None, run_id, uri, warn)
        with tracker._forgiving():
            if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
                raise FileNotFoundError("the database is not there")  # a client would make an empty one
            client = _open(uri)
            client.get_run(run_id)
            tracker._client = client
        return tracker

    @property
    def active(self) -> bool:
        return self._client is not None

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        with self._forgiving():
            if self._client and self.run_id:
                now = int(time.time() * 1000)
                self._client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        with self._forgiving():
            if self._client and self.run_id:
                self._client.log_artifact(self.run_id, str(path), folder)

    def tag(self, tags: Mapping[str, str]) -> None:
        with self._forgiving():
            if self._client and self.run_id:
                self._client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def finish(self, status: Status) -> None:
        with self._forgiving():
            if self._client and self.run_id:
                self._client.set_terminated(self.run_id, status)

    @contextmanager
    def _forgiving(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            self._client = None
            reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
            self._warn(f"MLflow at {self.uri} failed, nothing more is logged there: {reason}")


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            raise SettingsError(
                f"tracking.experiment = {name!r}: deleted in MLflow at {uri}; restore it or choose another name"
            )
        return str(found.experiment_id)
    # A local database says nothing of files: keep them beside it, wherever a later command is started.
    local = uri.startswith(SQLITE)
    location = (Path(uri.removeprefix(SQLITE)).parent / "mlartifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=location))


def check_store(uri: str) -> None:
    """Raise SettingsError where the store cannot be opened."""
    try:
        _open(uri).search_experiments(max_results=1)
    except _FAILURES as error:
        raise SettingsError(f"MLflow store {uri} cannot be opened: {str(error).splitlines()[0][:160]}") from None


def git_tags(folder: Path) -> dict[str, str]:
    """Commit of the repository that `folder` lies in, if it does."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(dirty)).lower()}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
