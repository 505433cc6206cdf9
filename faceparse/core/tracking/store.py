"""MLflow: the only file that imports it."""

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

from faceparse.core.address import VARIABLE, public_address, whole_address, without_secrets
from faceparse.core.errors import SettingsError
from faceparse.core.settings import TrackingSettings
from faceparse.core.tracking.ledger import Evaluated, InputDataset, Line, Status
from faceparse.core.tracking.logged import LoggedRun, Point

# Trying again is the tracker's, which can ask MLflow first what it holds: the client's own tries would repeat points.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

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
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

SQLITE = "sqlite:///"
START_PATIENCE = 5.0
"""Seconds that a run waits for MLflow at most, for each of its first two questions."""
FAILURES = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)
"""What a store raises that does not work; requests' errors are OSErrors."""

PAGE = 1000
"""Experiments or runs that are asked for at a time."""
_KEY_TAG = "faceparse.run"
_PARENT_TAG = "mlflow.parentRunId"
_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"
"""What the UI shows first: runs, charts and models, rather than its pages for language models."""
_CONTEXT_TAG = "mlflow.data.context"
_EPOCH_TAG = "faceparse.best_epoch"
"""Of a logged model: which of the run's epochs the checkpoint is from."""

Held = dict[tuple[str, int], Metric]
"""(metric, step) -> the newest point that a run has there."""

Say = Callable[[str], None]


def tracking_uri(settings: TrackingSettings) -> str:
    """The setting, else MLFLOW_TRACKING_URI, else SQLite in the working folder; a database's path is absolute.

    User and password are left out: `whole_address` has them.
    """
    uri = settings.uri or public_address(os.environ.get(VARIABLE, "")) or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}" if uri.startswith(SQLITE) else uri


class Store:
    """Runs at one URI, in our words: times are seconds, runs are found again by their keys."""

    def __init__(self, uri: str, *, there: bool = False) -> None:
        """A broken database is found here at once: MLflow itself would try for minutes.

        Args:
            there: a database must exist; MLflow would make an empty one.
        """
        if uri.startswith(SQLITE):
            path = Path(uri.removeprefix(SQLITE))
            if there and not path.is_file():
                raise FileNotFoundError("the database is not there")
            with closing(sqlite3.connect(path, timeout=5)) as database:
                database.execute("pragma schema_version").fetchone()
        self.uri = uri
        self._client = MlflowClient(whole_address(uri))

    def find_experiment(self, name: str) -> str | None:
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            raise SettingsError(
                f"tracking.experiment = {name!r}: deleted in MLflow at {self.uri}; restore it or choose another name"
            )
        return None if found is None else str(found.experiment_id)

    def experiment(self, name: str) -> str:
        """The id of the experiment, which is made where there is none."""
        if (found := self.find_experiment(name)) is not None:
            return found
        # A local database says nothing of files: keep them beside it, wherever a later command is started.
        local = self.uri.startswith(SQLITE)
        location = (Path(self.uri.removeprefix(SQLITE)).parent / "mlartifacts" / name).as_uri() if local else None
        return str(self._client.create_experiment(name, artifact_location=location, tags={_KIND_TAG: _KIND}))

    def find_run(self, experiment: str, key: str) -> str | None:
        found = self._client.search_runs([experiment], f"tags.`{_KEY_TAG}` = '{key}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def create_run(self, experiment: str, key: str, *, name: str, started: float, parent: str | None) -> str:
        tags = {_KEY_TAG: key, **({_PARENT_TAG: parent} if parent else {})}
        run = self._client.create_run(experiment, start_time=_milliseconds(started), tags=tags, run_name=name)
        return str(run.info.run_id)

    def held(self, run_id: str, lines: Sequence[Line]) -> Held:
        """Everything that MLflow holds under the names in `lines`: what was delivered before a process could note it,
        and epochs that a resumed run trains again. A store may have taken a part of a batch only, so each name is
        asked for.
        """
        names = {name for line in lines for name in line["metrics"]}
        points = [metric for name in names for metric in self._client.get_metric_history(run_id, name)]
        return {(metric.key, metric.step): metric for metric in sorted(points, key=lambda one: one.timestamp)}

    def log_points(self, run_id: str, line: Line, names: Collection[str]) -> None:
        step, when = line["epoch"], _milliseconds(line["time"])
        self._client.log_batch(run_id, metrics=[Metric(name, line["metrics"][name], when, step) for name in names])

    def log_labels(self, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        self._client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def log_datasets(self, run_id: str, datasets: Sequence[InputDataset]) -> None:
        """A run has each of them once, however often it is told."""
        self._client.log_inputs(run_id, [_dataset_input(dataset) for dataset in datasets])

    def log_evaluation(self, run_id: str, done: Evaluated) -> None:
        """Also to the logged model of that epoch's checkpoint, where there is one. Equal scores that are there already
        stay as they are.
        """
        self.log_datasets(run_id, [done.dataset])
        line: Line = {"epoch": done.epoch, "time": time.time(), "metrics": done.metrics}
        points = self._as_held(run_id, line, done.metrics, None, keep_value=False)
        model = _of_epoch(done.epoch, self._models(run_id))
        self._log_linked(run_id, points, model, (done.dataset.name, done.dataset.digest))
        self.log_labels(run_id, {}, done.tags)
        if Path(done.folder).is_dir():
            self.upload_folder(run_id, Path(done.folder), done.place)

    def link_best(self, run_id: str, line: Line, name: str, checkpoint: str, held: Held | None) -> None:
        """Make the logged model of best.pth, with the scores that its epoch's line has; those of earlier bests, whose
        file is no more, go. Done again, it changes nothing.

        Args:
            checkpoint: its path among the run's artifacts.
            held: points that the run has and that are not the line's; None: to be asked for.
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
        """Of a run; None on a server before MLflow 3, which has no such thing."""
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
        """The line's points, as the run has them where it does: told again just so, MLflow drops them.

        Args:
            keep_value: also where the value has become another; else such a point is a new one.
        """
        if held is None:
            held = self.held(run_id, [{**line, "metrics": {name: line["metrics"][name] for name in names}}])
        new = [Metric(name, line["metrics"][name], _milliseconds(line["time"]), line["epoch"]) for name in names]
        old = [held.get((metric.key, metric.step), metric) for metric in new]
        return [b if keep_value or a.value == b.value else a for a, b in zip(new, old, strict=True)]

    def _log_linked(
        self, run_id: str, points: Sequence[Metric], model: LoggedModel | None, dataset: tuple[str, str] | None
    ) -> None:
        """To the run, and to the model that the points are of."""
        linked = {(metric.key, metric.timestamp, metric.step) for metric in (model.metrics if model else None) or []}
        name, digest = dataset or (None, None)
        points = [
            Metric(one.key, one.value, one.timestamp, one.step, model.model_id if model else None, name, digest)
            for one in points
            if (one.key, one.timestamp, one.step) not in linked
        ]
        self._client.log_batch(run_id, metrics=points)

    def upload(self, run_id: str, path: Path, folder: str | None) -> None:
        self._client.log_artifact(run_id, str(path), folder)

    def upload_folder(self, run_id: str, folder: Path, name: str) -> None:
        self._client.log_artifacts(run_id, str(folder), name)

    def set_status(self, run_id: str, status: Status, ended: float | None) -> None:
        if status == "RUNNING":
            self._client.update_run(run_id, status=status)
        else:
            self._client.set_terminated(run_id, status, None if ended is None else _milliseconds(ended))

    def experiments(self) -> dict[str, str]:
        """Id -> name."""
        return {str(one.experiment_id): str(one.name) for one in _pages(self._client.search_experiments)}

    def runs(self, experiments: Mapping[str, str]) -> list[LoggedRun]:
        """All of ours in these experiments (id -> name)."""
        ours = partial(self._client.search_runs, list(experiments), f"tags.`{_KEY_TAG}` LIKE '%'")
        return [self._logged(run, experiments[run.info.experiment_id]) for run in _pages(ours)] if experiments else []

    def run(self, run_id: str) -> LoggedRun:
        run = self._client.get_run(run_id)
        return self._logged(run, self._client.get_experiment(run.info.experiment_id).name)

    def value_at(self, run_id: str, name: str, step: int) -> float | None:
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
        """Ask for anything, to see whether it answers."""
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


def log_evaluation(uri: str, run_id: str, done: Evaluated) -> str | None:
    """Add to an MLflow run of any age, at once. Returns the reason where that fails."""
    try:
        Store(uri, there=True).log_evaluation(run_id, done)
    except FAILURES as error:
        return reason(error)
    return None


def log_folder(uri: str, run_id: str, folder: Path, name: str, *, warn: Say) -> bool:
    """Add a folder's files to an MLflow run of any age, as artifacts under `name`. False, and a warning, on failure."""
    try:
        Store(uri, there=True).upload_folder(run_id, folder, name)
    except FAILURES as error:
        warn(f"MLflow at {uri} failed, {folder} is not uploaded: {reason(error)}")
        return False
    return True


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
            Store(uri).find_experiment(settings.experiment)
        except SettingsError as error:
            problems.append(error)
        except FAILURES as error:
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
        Store(uri).look()
    except FAILURES as error:
        raise _unusable(uri, error) from None


def _unusable(uri: str, error: Exception) -> SettingsError:
    return SettingsError(f"MLflow store {uri} cannot be opened: {reason(error)}")


def reason(error: BaseException) -> str:
    """One line, from the socket or the database where it was one: MLflow wraps that in pages of its own."""
    said, root = error, error
    while root.__context__ is not None:
        root = root.__context__
        if isinstance(root, DBAPIError) and root.orig is not None:
            said = root.orig
    text = (root.strerror or str(root) if isinstance(root, OSError) else str(said)).strip()
    return without_secrets(text.splitlines()[0])[:160] if text else type(error).__name__
