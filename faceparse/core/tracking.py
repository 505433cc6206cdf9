"""MLflow: the only file that imports it.

The run directory is the truth. What MLflow still has to hear of it is noted there, too, and delivered by a thread
beside training, or later by `faceparse sync`.
"""

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from faceparse.core.errors import SettingsError, TrackingError
from faceparse.core.files import write_atomic
from faceparse.core.settings import TrackingSettings

# Trying again is done here, where MLflow can be asked first what it holds: the client's own tries would repeat points.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

TRACKING_FILE = "tracking.json"
SQLITE = "sqlite:///"
START_PATIENCE, END_PATIENCE = 5.0, 10.0
"""Seconds that a run waits for MLflow at most: for each of its first two questions, and for the rest when it ends."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds between two tries; each pause is twice the one before."""

_KEY_TAG = "faceparse.run"
_ASIDE = ".upload"
_FAILURES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)  # requests' errors are OSErrors

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
Say = Callable[[str], None]
Line = dict[str, Any]
"""One of metrics.jsonl: `epoch` (the step), `time` (seconds since 1970), `metrics` (name -> value)."""


def tracking_uri(settings: TrackingSettings) -> str:
    """The setting, else MLFLOW_TRACKING_URI, else SQLite in the working folder; a database's path is absolute."""
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri


@dataclass
class Ledger:
    """How far MLflow knows a run: the content of tracking.json."""

    uri: str
    experiment: str
    run_name: str
    key: str
    """Tag by which the MLflow run is found again if the process dies before it can note the run's id."""
    started: float
    """Seconds since 1970, as `ended`."""
    params: dict[str, str]
    """Not delivered yet, as `tags` and `files`."""
    tags: dict[str, str]
    files: dict[str, str | None] = field(default_factory=dict)
    """Path in the run directory -> folder in MLflow; None is the top."""
    run_id: str | None = None
    delivered: int = 0
    """The last step that is delivered; steps count from 1."""
    status: Status = "RUNNING"
    ended: float | None = None
    told: Status | None = None
    """The last status that is delivered."""


@dataclass
class Parcel:
    """What is to be delivered, or has been."""

    points: int = 0
    """A point is the value of one metric at one step."""
    labels: int = 0
    """Params and tags."""
    files: int = 0
    missing: int = 0
    """Files that were to be uploaded and are no longer there."""
    status: Status | None = None

    def __bool__(self) -> bool:
        return self != Parcel()

    def __str__(self) -> str:
        counts = {
            "points": self.points,
            "params and tags": self.labels,
            "files": self.files,
            "files that are gone": self.missing,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        return ", ".join(parts + ([f"status {self.status}"] if self.status else [])) or "nothing"


def outstanding(ledger: Ledger, lines: Sequence[Line]) -> Parcel:
    return Parcel(
        points=sum(len(line["metrics"]) for line in _undelivered(ledger, lines)),
        labels=len(ledger.params) + len(ledger.tags),
        files=len(ledger.files),
        status=ledger.status if ledger.status != ledger.told else None,
    )


def _undelivered(ledger: Ledger, lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line["epoch"] > ledger.delivered]


def read_ledger(folder: Path) -> Ledger | None:
    """None where the run was never tracked.

    Raises:
        SettingsError: the file is damaged.
    """
    path = folder / TRACKING_FILE
    try:
        return Ledger(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({type(error).__name__}); remove it, and the run gets a new MLflow run on --resume"
        ) from None


class Tracker:
    """The MLflow run of one run directory. What is to be delivered is noted first; the thread does the rest.

    The thread belongs to the process that holds the run directory: nobody else writes tracking.json meanwhile.
    """

    def __init__(self, folder: Path, ledger: Ledger | None, lines: Callable[[], list[Line]]) -> None:
        """
        Args:
            ledger: None where tracking is switched off; nothing is noted or delivered then.
            lines: reads what metrics.jsonl holds now.
        """
        self._folder, self._ledger, self._lines = folder, ledger, lines
        self._client: MlflowClient | None = None
        self._held: set[tuple[str, int]] | None = None  # (metric, step) that need no delivery; None: to be asked for
        self._changed: set[str] = set()  # files noted again while they are uploaded
        self._lock = threading.Lock()
        self._work, self._tried, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._left = False
        self._problem = ""
        self._thread: threading.Thread | None = None
        self._warn: Say = lambda text: None

    @classmethod
    def start(
        cls,
        settings: TrackingSettings,
        folder: Path,
        lines: Callable[[], list[Line]],
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        warn: Say,
        say: Say,
    ) -> "Tracker":
        """Go on with the MLflow run of `folder`, or begin one; the thread starts.

        A new run waits for the first try, so that its checkpoints know their MLflow run where MLflow answers.

        Args:
            warn, say: hear of a server that is lost, and of its return. Called from the thread.

        Raises:
            SettingsError: tracking.json is damaged.
            OutputError: it cannot be written.
        """
        if not settings.enabled:
            return cls(folder, None, lines)
        ledger = read_ledger(folder) or Ledger(
            uri=tracking_uri(settings),
            experiment=settings.experiment,
            run_name=settings.run_name or folder.name,
            key=secrets.token_hex(8),
            started=time.time(),
            params={key: str(value) for key, value in params.items()},
            tags=dict(tags),
        )
        tracker = cls(folder, ledger, lines)
        with tracker._noting():
            ledger.status, ledger.ended = "RUNNING", None
        tracker._warn = warn
        tracker._thread = threading.Thread(target=tracker._deliver_on, args=(say,), name="mlflow", daemon=True)
        tracker._thread.start()
        if ledger.run_id is None:
            tracker._tried.wait(START_PATIENCE)
        return tracker

    @property
    def uri(self) -> str | None:
        return self._ledger.uri if self._ledger else None

    @property
    def run_id(self) -> str | None:
        """None as long as MLflow could not be reached."""
        return self._ledger.run_id if self._ledger else None

    def deliver(self) -> None:
        """There are new lines in metrics.jsonl."""
        self._work.set()

    def upload(self, path: Path, folder: str | None = None) -> None:
        """Note a file of the run directory. Of one that changes before it is uploaded only the newest counts."""
        if self._ledger:
            with self._noting() as ledger:
                name = path.relative_to(self._folder).as_posix()
                ledger.files[name] = folder
                self._changed.add(name)
            self._work.set()

    def tag(self, tags: Mapping[str, str]) -> None:
        if self._ledger:
            with self._noting() as ledger:
                ledger.tags.update(tags)
            self._work.set()

    def finish(self, status: Status) -> None:
        """Note what the run came to, and wait a little for the rest to be delivered."""
        if not self._ledger or not self._thread:
            return
        with self._noting() as ledger:
            ledger.status, ledger.ended = status, time.time()
        self._ending.set()
        self._work.set()
        try:
            self._thread.join(END_PATIENCE)
        finally:
            with self._lock:
                self._left = True  # the run directory is about to be let go: the thread touches it no more
        if rest := outstanding(self._ledger, self._lines()):
            reason = f" ({self._problem})" if self._problem else ""
            self._warn(f"MLflow at {self.uri}: not delivered: {rest}{reason}; later: faceparse sync {self._folder}")

    def deliver_rest(self) -> Parcel:
        """Deliver all that is outstanding, here and now; for a run whose process has ended.

        Raises:
            TrackingError: the run was never tracked, or MLflow does not take it.
        """
        ledger = self._ledger
        if ledger is None:
            raise TrackingError(f"{self._folder}: not tracked in MLflow (no {TRACKING_FILE} in it); nothing to deliver")
        if ledger.status == "RUNNING":  # and yet nobody holds the run directory
            last = max((line["time"] for line in self._lines()), default=ledger.started)
            with self._noting():
                ledger.status, ledger.ended = "KILLED", last
        if not outstanding(ledger, self._lines()):
            return Parcel()
        try:
            return self._deliver()
        except _FAILURES as error:
            rest = outstanding(ledger, self._lines())
            raise TrackingError(
                f"MLflow at {ledger.uri}: not delivered: {rest} ({_reason(error)}); try again when it is back"
            ) from None

    @contextmanager
    def _noting(self) -> Iterator[Ledger]:
        """Change the ledger and keep it. Only ever for a moment: training waits for this lock."""
        assert self._ledger is not None
        with self._lock:
            if self._left:
                raise _LeftError
            yield self._ledger
            write_atomic(self._folder / TRACKING_FILE, json.dumps(asdict(self._ledger), indent=1).encode())

    def _deliver_on(self, say: Say) -> None:
        """The thread: delivers whatever is noted until the run ends, with growing pauses while MLflow fails."""
        pause, lost = FIRST_PAUSE, False
        while True:
            self._work.clear()  # first: what comes from here on wakes the thread again
            last = self._ending.is_set()
            try:
                self._deliver()
            except _LeftError:
                return
            except Exception as error:  # whatever it is, the run goes on
                self._problem = _reason(error)
                if not lost and not last:
                    self._warn(f"MLflow at {self.uri} failed, the run goes on and tries again: {self._problem}")
                lost = True
                self._tried.set()
                if not last:
                    self._ending.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
            else:
                if lost:
                    say(f"MLflow at {self.uri} is back, everything so far is delivered")
                pause, lost, self._problem = FIRST_PAUSE, False, ""
            if last:
                return
            self._work.wait()

    def _deliver(self) -> Parcel:
        """One try at all that is outstanding. Each call to MLflow is noted as soon as it has answered."""
        parcel, ledger = Parcel(), self._ledger
        assert ledger is not None
        try:
            if self._client is None:
                self._client = _open(ledger.uri, there=ledger.run_id is not None)
            run_id = ledger.run_id or self._find_or_create(self._client, ledger)
            self._tried.set()
            try:
                self._deliver_points(self._client, run_id, ledger, parcel)
                self._deliver_labels(self._client, run_id, ledger, parcel)
                self._deliver_files(self._client, run_id, ledger, parcel)
            finally:  # a file that MLflow refuses must not leave the run open for ever
                self._deliver_status(self._client, run_id, ledger, parcel)
        except BaseException:
            self._client = None
            raise
        return parcel

    def _find_or_create(self, client: MlflowClient, ledger: Ledger) -> str:
        self._go_on()
        experiment = _experiment(client, ledger.experiment, ledger.uri)
        found = client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{ledger.key}'", max_results=1)
        if found:
            run = found[0]
        else:
            self._held = set()  # what is not there yet holds no points
            tags, started = {_KEY_TAG: ledger.key}, _milliseconds(ledger.started)
            run = client.create_run(experiment, start_time=started, tags=tags, run_name=ledger.run_name)
        run_id = str(run.info.run_id)
        with self._noting():
            ledger.run_id, ledger.told = run_id, "RUNNING"
        return run_id

    def _deliver_points(self, client: MlflowClient, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        lines = _undelivered(ledger, self._lines())
        if not lines:
            return
        held = _held(client, run_id, lines) if self._held is None else self._held
        self._held = None  # whether a call that fails has delivered is not known
        for line in lines:
            step, when = line["epoch"], _milliseconds(line["time"])
            new = {name: value for name, value in line["metrics"].items() if (name, step) not in held}
            if new:
                self._go_on()
                client.log_batch(run_id, metrics=[Metric(name, value, when, step) for name, value in new.items()])
            with self._noting():
                ledger.delivered = step
            parcel.points += len(new)
        self._held = held

    def _deliver_labels(self, client: MlflowClient, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            params, tags = dict(ledger.params), dict(ledger.tags)
        if not params and not tags:
            return
        self._go_on()
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        with self._noting():
            ledger.params = {}
            ledger.tags = {key: value for key, value in ledger.tags.items() if tags.get(key) != value}
        parcel.labels = len(params) + len(tags)

    def _deliver_files(self, client: MlflowClient, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            files = [(self._folder / name, name, folder) for name, folder in ledger.files.items()]
        # The smallest first: a server that refuses large files has all the others.
        for path, name, folder in sorted(files, key=lambda file: _size(file[0])):
            self._go_on()
            with self._lock:
                self._changed.discard(name)
            with _set_aside(path) as copy:
                if copy is not None:
                    client.log_artifact(run_id, str(copy), folder)
            with self._noting():
                if name not in self._changed:
                    del ledger.files[name]
            parcel.files += copy is not None
            parcel.missing += copy is None

    def _deliver_status(self, client: MlflowClient, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            status, ended = ledger.status, ledger.ended
        if status == ledger.told:
            return
        self._go_on()
        if status == "RUNNING":
            client.update_run(run_id, status=status)
        else:
            client.set_terminated(run_id, status, None if ended is None else _milliseconds(ended))
        with self._noting():
            ledger.told = status
        parcel.status = status

    def _go_on(self) -> None:
        if self._left:
            raise _LeftError


class _LeftError(Exception):
    """The run has ended while something was being delivered."""


def _held(client: MlflowClient, run_id: str, lines: Sequence[Line]) -> set[tuple[str, int]]:
    """(metric, step) of everything that MLflow holds under the names in `lines`: what was delivered before a process
    could note it, and epochs that a resumed run trains again. A store may have taken a part of a batch only, so each
    name is asked for.
    """
    names = {name for line in lines for name in line["metrics"]}
    return {(name, metric.step) for name in names for metric in client.get_metric_history(run_id, name)}


@contextmanager
def _set_aside(path: Path) -> Iterator[Path | None]:
    """A second name of a file, which keeps its content when the first is replaced; None where it is gone."""
    copy = path.parent / _ASIDE / path.name
    shutil.rmtree(copy.parent, ignore_errors=True)  # of a process that was killed
    if not path.is_file():
        yield None
        return
    copy.parent.mkdir()
    try:
        try:
            os.link(path, copy)
        except OSError:  # some file systems have no links
            shutil.copyfile(path, copy)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _reason(error: BaseException) -> str:
    """One line, from the socket where it was a socket: MLflow wraps that in pages of its own."""
    root = error
    while root.__context__ is not None:
        root = root.__context__
    text = (root.strerror or str(root) if isinstance(root, OSError) else str(error)).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__


def log_scores(
    uri: str, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], step: int, *, warn: Say
) -> bool:
    """Add to an MLflow run of any age, at once. False, and a warning, where that fails."""
    now = _milliseconds(time.time())
    try:
        _open(uri, there=True).log_batch(
            run_id,
            metrics=[Metric(name, value, now, step) for name, value in metrics.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
    except _FAILURES as error:
        warn(f"MLflow at {uri} failed, the scores are not logged there: {_reason(error)}")
        return False
    return True


def _open(uri: str, *, there: bool = False) -> MlflowClient:
    """A client for `uri`. A broken database is found here at once: MLflow itself would try for minutes.

    Args:
        there: a database must exist; MLflow would make an empty one.
    """
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        if there and not path.is_file():
            raise FileNotFoundError("the database is not there")
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("pragma schema_version").fetchone()
    return MlflowClient(uri)


def _find_experiment(client: MlflowClient, name: str, uri: str) -> str | None:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise SettingsError(
            f"tracking.experiment = {name!r}: deleted in MLflow at {uri}; restore it or choose another name"
        )
    return None if found is None else str(found.experiment_id)


def _experiment(client: MlflowClient, name: str, uri: str) -> str:
    if (found := _find_experiment(client, name, uri)) is not None:
        return found
    # A local database says nothing of files: keep them beside it, wherever a later command is started.
    local = uri.startswith(SQLITE)
    location = (Path(uri.removeprefix(SQLITE)).parent / "mlartifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=location))


def check_experiment(settings: TrackingSettings) -> None:
    """Find what no patience mends before a run directory exists. A server that does not answer is none of it.

    Raises:
        SettingsError: the experiment is deleted, nothing understands the URI, or a local database cannot be opened.
    """
    if not settings.enabled:
        return
    uri, problems = tracking_uri(settings), list[SettingsError]()
    local = uri.startswith(SQLITE)

    def look() -> None:
        try:
            _find_experiment(_open(uri), settings.experiment, uri)
        except SettingsError as error:
            problems.append(error)
        except _FAILURES as error:
            misread = getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE" or isinstance(error, ImportError)
            if local or misread:
                problems.append(_unusable(uri, error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(None if local else START_PATIENCE)
    if problems:
        raise problems[0]


def check_store(uri: str) -> None:
    """Raise SettingsError where the store cannot be opened."""
    try:
        _open(uri).search_experiments(max_results=1)
    except _FAILURES as error:
        raise _unusable(uri, error) from None


def _unusable(uri: str, error: Exception) -> SettingsError:
    return SettingsError(f"MLflow store {uri} cannot be opened: {_reason(error)}")


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
