"""Read and write runs in MLflow's tracking store."""

import hashlib
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient

from faceparse.core.errors import SettingsError
from faceparse.core.files.locks import have_locks
from faceparse.core.runs.database import ARTIFACTS, SQLITE, database_file, follow_move, is_local, tracking_uri
from faceparse.core.runs.mlflow_failures import FAILURES, GoneError, Refused, WithheldError, is_refusal, reason, told
from faceparse.core.runs.mlflow_run import LoggedRun, Point
from faceparse.core.runs.tracking_record import Evaluated, InputDataset, Line, Say, Status, report_files
from faceparse.core.settings import TrackingSettings, folder_name
from faceparse.core.text.address import whole_address, withheld

CLIENT_DEFAULTS = {
    # The tracker itself tries again, after it asks what MLflow holds. Retries of the client would repeat points.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a uv project in the working folder does not belong to the registered model
}
"""Environment variables that MLflow's client reads at each call. Values that the user set stay."""

START_PATIENCE = 5.0
"""Longest time in seconds that a run waits for MLflow, for each of its first two questions."""


PAGE = 1000
"""Experiments or runs per request."""
LONGEST = 250
"""Most letters that MLflow takes in a name."""
_KEY_TAG = "faceparse.run"
_PARENT_TAG = "mlflow.parentRunId"
_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"
"""Makes the UI show runs, charts and models first, not its pages for language models."""
_CONTEXT_TAG = "mlflow.data.context"
_EPOCH_TAG = "faceparse.best_epoch"
"""Tag of a logged model: the epoch that its checkpoint is from."""

Held = dict[tuple[str, int], Metric]
"""(metric, step) -> the newest point that a run has there."""


def mlflow_name(name: str) -> str:
    """Name of a metric, param or tag as MLflow takes it: `skin (face)` -> `skin _face_-1b7e`.

    A name that MLflow takes stays as it is. The ending keeps names apart that would otherwise become equal.
    """
    parts = re.sub(r"[^\w/.\- :]", "_", name).split("/")
    taken = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if taken == name and len(name) <= LONGEST:
        return name
    return f"{taken[: LONGEST - 5]}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:4]}"


def as_named(line: Line) -> Line:
    """The line, with its metrics named as MLflow takes them."""
    return {**line, "metrics": {mlflow_name(name): value for name, value in line["metrics"].items()}}


def _make_database(path: Path) -> None:
    """Make MLflow's tables where there are none yet.

    They are made under another name, so that nobody finds a half-made database, and by one process at a time.
    """
    if _is_made(path):
        return
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    lock, new = path.with_name(f".{path.name}.lock"), path.with_name(f".{path.name}.new")
    with FileLock(lock):
        if not _is_made(path):
            for leftover in (new, new.with_name(f"{new.name}-journal")):
                leftover.unlink(missing_ok=True)
            MlflowClient(f"{SQLITE}{new}")._tracking_client.store.engine.dispose()  # Windows renames no open file
            new.replace(path)
        if have_locks():  # Windows removes no open file, and filelock removes it there at the end
            lock.unlink(missing_ok=True)  # a process that waits for the lock finds the database made


def _is_made(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.stat().st_size > 0)


class Store:
    """Runs at one URI in faceparse's terms: times in seconds, runs found by their keys.

    For example:

        store = open_store("sqlite:///mlflow.db", warn=print)
        runs = store.runs(store.experiments())
    """

    def __init__(self, uri: str, *, must_exist: bool = False, follow: bool = True) -> None:
        """Open the store. Find a broken database at once, for which MLflow itself would try for minutes.

        Args:
            must_exist: refuse to make a database that does not exist.
            follow: update the paths in a database that was moved; for callers that are about to write.
        """
        for name, value in CLIENT_DEFAULTS.items():
            os.environ.setdefault(name, value)
        self.moved: str | None = None
        """The move of the database since its last use, in one line; None where it was not moved."""
        if is_local(uri):
            path = database_file(uri)
            if must_exist and not (path.is_file() and _is_made(path)):
                raise FileNotFoundError("the database is not there")
            _make_database(path)
            with closing(sqlite3.connect(path, timeout=5)) as database:
                tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
            if "alembic_version" not in tables:  # MLflow would write its own tables into it
                raise sqlite3.DatabaseError("this file is not a database of MLflow")
            self.moved = follow_move(path) if follow else None
        self.uri = uri
        if problem := withheld(uri):
            raise WithheldError(problem)
        try:
            self._client = MlflowClient(whole_address(uri))
        except ValueError as error:
            raise SettingsError(
                f"tracking.uri = {uri!r}: no address that MLflow takes ({error}); write http://HOST:PORT or sqlite:///FILE"
            ) from None

    def find_experiment(self, name: str) -> str | None:
        """Id of the experiment; None where there is none.

        Raises:
            SettingsError: it was deleted.
        """
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise SettingsError(
                f"tracking.experiment = {name!r}: deleted in MLflow at {self.uri}; restore it or choose another name"
            )
        return None if found is None else str(found.experiment_id)

    def experiment(self, name: str) -> str:
        """Id of the experiment. Make it where there is none."""
        if (found := self.find_experiment(name)) is not None:
            return found
        # Keep the files of a local database beside it, so that later commands find them from any folder.
        folder = database_file(self.uri).parent / ARTIFACTS / folder_name(name) if is_local(self.uri) else None
        location = folder.as_uri() if folder else None
        try:
            return str(self._client.create_experiment(name, artifact_location=location, tags={_KIND_TAG: _KIND}))
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS" and (found := self.find_experiment(name)) is not None:
                return found  # another run that began at the same moment has made it
            if is_refusal(error):
                raise SettingsError(
                    f"tracking.experiment = {name!r}: MLflow at {self.uri} refuses it: {reason(error)}"
                ) from None
            raise

    def check_run(self, run_id: str) -> Run:
        """Return the run.

        Raises:
            GoneError: it was deleted, and takes nothing more.
            MlflowException: there is none.
        """
        run = self._client.get_run(run_id)
        if run.info.lifecycle_stage == "deleted":
            raise GoneError(f"run {run_id} was deleted there; 'mlflow runs restore --run-id {run_id}' brings it back")
        return run

    def find_run(self, experiment: str, key: str) -> str | None:
        """Id of the run with this key; None where there is none."""
        found = self._client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def create_run(self, experiment: str, key: str, *, name: str, started: float, parent: str | None) -> str:
        """Make a run and return its id."""
        tags = {_KEY_TAG: key, **({_PARENT_TAG: parent} if parent else {})}
        run = self._client.create_run(experiment, start_time=_milliseconds(started), tags=tags, run_name=name[:LONGEST])
        return str(run.info.run_id)

    def held(self, run_id: str, lines: Sequence[Line]) -> Held:
        """Everything that MLflow holds under the names in `lines`.

        That includes points of a process that died before it could note them, and epochs that a resumed run trains
        again. A store may have taken only a part of a batch, so this asks for each name.
        """
        names = {name for line in lines for name in line["metrics"]}
        points = [metric for name in names for metric in self._client.get_metric_history(run_id, name)]
        return {(metric.key, metric.step): metric for metric in sorted(points, key=lambda one: one.timestamp)}

    def log_points(self, run_id: str, line: Line, names: Collection[str]) -> Refused:
        """Add a line's values of the metrics in `names`. Return those that MLflow refuses."""
        step, when = line["epoch"], _milliseconds(line["time"])
        return self._log(run_id, [Metric(name, line["metrics"][name], when, step) for name in names])

    def log_labels(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> Refused:
        """Add params and tags. Return those that MLflow refuses."""
        named = [Param(mlflow_name(key), value) for key, value in params.items()]
        return self._log(run_id, [*named, *(RunTag(mlflow_name(key), value) for key, value in tags.items())])

    def _log(self, run_id: str, entities: Sequence[Metric | Param | RunTag]) -> Refused:
        """Log all that MLflow takes. Where it refuses one entity, it takes none of the batch: try each half then."""
        try:
            self._client.log_batch(
                run_id,
                metrics=[one for one in entities if isinstance(one, Metric)],
                params=[one for one in entities if isinstance(one, Param)],
                tags=[one for one in entities if isinstance(one, RunTag)],
            )
        except MlflowException as error:
            if not is_refusal(error):
                raise
            self.check_run(run_id)  # a deleted run refuses everything
            if len(entities) == 1:
                return {entities[0].key: reason(error)}
            half = len(entities) // 2
            return self._log(run_id, entities[:half]) | self._log(run_id, entities[half:])
        return {}

    def log_datasets(self, run_id: str, datasets: Sequence[InputDataset]) -> None:
        """Add datasets to a run. Each appears once, however often it is added."""
        self._client.log_inputs(run_id, [_dataset_input(dataset) for dataset in datasets])

    def log_evaluation(self, run_id: str, done: Evaluated) -> Refused:
        """Add an evaluation to the run, and to the logged model of that epoch's checkpoint where there is one.

        Scores that are already there with the same value stay as they are.
        """
        self.check_run(run_id)
        self.log_datasets(run_id, [done.dataset])
        line = as_named({"epoch": done.epoch, "time": time.time(), "metrics": done.metrics})
        points = self._as_held(run_id, line, line["metrics"], None, keep_value=False)
        model = _of_epoch(done.epoch, self._models(run_id))
        refused = self._log_linked(run_id, points, model, (done.dataset.name, done.dataset.digest))
        refused |= self.log_labels(run_id, {}, done.tags)
        for path, place in report_files(done):
            self.upload(run_id, path, place)
        return refused

    def link_best(self, run_id: str, line: Line, name: str, checkpoint: str, held: Held | None) -> None:
        """Make the logged model of best.pth, with the scores of its epoch's line.

        Delete the logged models of earlier bests, whose files no longer exist. A second call changes nothing.

        Args:
            checkpoint: path of best.pth among the run's artifacts.
            held: points that the run already has beyond the line's; None asks MLflow.
        """
        run, epoch, models = self._client.get_run(run_id), line["epoch"], self._models(run_id)
        if models is None:
            return
        model = _of_epoch(epoch, models) or self._client.create_logged_model(
            run.info.experiment_id,
            name=re.sub(r"[/:.%\"']", "-", name),
            source_run_id=run_id,
            tags={_EPOCH_TAG: str(epoch), "checkpoint": f"runs:/{run_id}/{checkpoint}"},
            params=run.data.params,
            model_type="EAGRNet",
        )
        inputs = run.inputs.dataset_inputs if run.inputs else []
        chosen_on = [
            one.dataset for one in inputs if (_CONTEXT_TAG, "val") in {(tag.key, tag.value) for tag in one.tags}
        ]
        dataset = (chosen_on[0].name, chosen_on[0].digest) if chosen_on else None
        scores = [name for name in line["metrics"] if name.startswith("val/")]
        self._log_linked(run_id, self._as_held(run_id, line, scores, held, keep_value=True), model, dataset)
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        outputs = run.outputs.model_outputs if run.outputs else []
        if model.model_id not in {output.model_id for output in outputs}:
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, epoch)])
        for other in models:
            if other.tags.get(_EPOCH_TAG, str(epoch)) != str(epoch):
                self._client.delete_logged_model(other.model_id)

    def _models(self, run_id: str) -> list[LoggedModel] | None:
        """Logged models of a run; None on a server before MLflow 3, which has no logged models."""
        experiment = self._client.get_run(run_id).info.experiment_id
        try:
            return list(self._client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))
        except MlflowException as error:
            if error.error_code == "ENDPOINT_NOT_FOUND":
                return None
            raise

    def _as_held(
        self, run_id: str, line: Line, names: Collection[str], held: Held | None, *, keep_value: bool
    ) -> list[Metric]:
        """The line's points, exactly as the run has them where it does: MLflow drops exact repetitions.

        Args:
            keep_value: also use the run's point where the value differs; otherwise such a point is a new one.
        """
        if held is None:
            held = self.held(run_id, [{**line, "metrics": {name: line["metrics"][name] for name in names}}])
        new = [Metric(name, line["metrics"][name], _milliseconds(line["time"]), line["epoch"]) for name in names]
        old = [held.get((metric.key, metric.step), metric) for metric in new]
        return [b if keep_value or a.value == b.value else a for a, b in zip(new, old, strict=True)]

    def _log_linked(
        self, run_id: str, points: Sequence[Metric], model: LoggedModel | None, dataset: tuple[str, str] | None
    ) -> Refused:
        """Add points to the run, and to the model that they belong to."""
        linked = {(metric.key, metric.timestamp, metric.step) for metric in (model.metrics if model else None) or []}
        name, digest = dataset or (None, None)
        points = [
            Metric(one.key, one.value, one.timestamp, one.step, model.model_id if model else None, name, digest)
            for one in points
            if (one.key, one.timestamp, one.step) not in linked
        ]
        return self._log(run_id, points)

    def upload(self, run_id: str, path: Path, folder: str | None) -> None:
        """Upload a file into a folder of the run's artifacts; None is the top folder."""
        self._client.log_artifact(run_id, str(path), folder)

    def upload_folder(self, run_id: str, folder: Path, name: str) -> None:
        """Upload a folder's files as artifacts under `name`."""
        self._client.log_artifacts(run_id, str(folder), name)

    def set_status(self, run_id: str, status: Status, ended: float | None) -> None:
        """Set the status of a run, and its end where it is over."""
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, None if ended is None else _milliseconds(ended))

    def experiments(self) -> dict[str, str]:
        """Id -> name of all experiments."""
        return {str(one.experiment_id): str(one.name) for one in _pages(self._client.search_experiments)}

    def runs(self, experiments: Mapping[str, str]) -> list[LoggedRun]:
        """All faceparse runs in these experiments (id -> name)."""
        ours = partial(self._client.search_runs, list(experiments), f"tags.`{_KEY_TAG}` LIKE '%'")
        return [self._logged(run, experiments[run.info.experiment_id]) for run in _pages(ours)] if experiments else []

    def run(self, run_id: str) -> LoggedRun:
        """The run with this id."""
        run = self._client.get_run(run_id)
        return self._logged(run, self._client.get_experiment(run.info.experiment_id).name)

    def value_at(self, run_id: str, name: str, step: int) -> float | None:
        """Value of a metric at a step; None where there is none."""
        return next((one.value for one in self._client.get_metric_history(run_id, name) if one.step == step), None)

    def _logged(self, run: Run, experiment: str) -> LoggedRun:
        info, data = run.info, run.data
        return LoggedRun(
            uri=self.uri,
            id=info.run_id,
            name=info.run_name or info.run_id,
            experiment=experiment,
            status=info.status,
            started=info.start_time / 1000,
            ended=info.end_time / 1000 if info.end_time else None,
            parent=data.tags.get(_PARENT_TAG),
            params=data.params,
            tags=data.tags,
            newest={one.key: Point(one.value, one.step) for one in data.to_proto().metrics},
        )

    def look(self) -> None:
        """Ask for anything, to see whether the store answers."""
        self._client.search_experiments(max_results=1)


def _of_epoch(epoch: int, models: Sequence[LoggedModel] | None) -> LoggedModel | None:
    return next((model for model in models or () if model.tags.get(_EPOCH_TAG) == str(epoch)), None)


def _pages(search: Callable[..., PagedList[Any]]) -> Iterator[Any]:
    page = search(max_results=PAGE)
    yield from page
    while page.token:
        page = search(max_results=PAGE, page_token=page.token)
        yield from page


def _dataset_input(dataset: InputDataset) -> DatasetInput:
    profile = {"images": dataset.images, "label_set": dataset.label_set}
    entity = Dataset(
        dataset.name, dataset.digest, "local", json.dumps({"uri": dataset.root}), profile=json.dumps(profile)
    )
    return DatasetInput(entity, [InputTag(_CONTEXT_TAG, dataset.context)])


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def open_store(uri: str, *, warn: Say, must_exist: bool = False) -> Store:
    """The store, ready to be written. `warn` is called with a message when a database was moved."""
    store = Store(uri, must_exist=must_exist)
    if store.moved:
        warn(store.moved)
    return store


def log_evaluation(uri: str, run_id: str, done: Evaluated, *, warn: Say) -> str | None:
    """Add an evaluation to an existing MLflow run, at once. Return the reason where that fails."""
    try:
        refused = open_store(uri, warn=warn, must_exist=True).log_evaluation(run_id, done)
    except (*FAILURES, SettingsError) as error:
        return reason(error)
    if refused:
        warn(told(uri, refused))
    return None


def log_folder(uri: str, run_id: str, folder: Path, name: str, *, warn: Say) -> bool:
    """Upload a folder's files to an existing MLflow run, as artifacts `name`. Warn and return False on failure."""
    try:
        store = open_store(uri, warn=warn, must_exist=True)
        store.check_run(run_id)
        store.upload_folder(run_id, folder, name)
    except (*FAILURES, SettingsError) as error:
        warn(f"MLflow at {uri} failed, {folder} is not uploaded: {reason(error)}")
        return False
    return True


def check_experiment(settings: TrackingSettings, *, warn: Say = lambda _: None) -> None:
    """Before a run directory exists, raise errors that waiting would not fix. A silent server is no such error.

    Args:
        warn: called with a message when a database was moved.

    Raises:
        SettingsError: the experiment is deleted or refused, nothing understands the URI, or a local database cannot be
            opened.
    """
    if not settings.enabled:
        return
    uri, problems, moved = tracking_uri(settings), list[SettingsError](), list[str]()
    local = is_local(uri)

    def look() -> None:
        try:
            open_store(uri, warn=moved.append).experiment(settings.experiment)
        except SettingsError as error:
            problems.append(error)
        except FAILURES as error:
            if local or is_refusal(error) or isinstance(error, ImportError):
                problems.append(_unusable(uri, error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(None if local else START_PATIENCE)
    for line in moved:
        warn(line)
    if problems:
        raise problems[0]


def check_store(uri: str) -> None:
    """Raise SettingsError where the store cannot be opened."""
    try:
        Store(uri, follow=False).look()
    except FAILURES as error:
        raise _unusable(uri, error) from None


def _unusable(uri: str, error: Exception) -> SettingsError:
    return SettingsError(f"MLflow store {uri} cannot be opened: {reason(error)}")
