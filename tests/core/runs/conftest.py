"""A run without training, and an MLflow that does as it is told."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import LoggedModel
from mlflow.tracking import MlflowClient

from faceparse.core.runs import delivery_thread
from faceparse.core.runs import mlflow_store as store_module
from faceparse.core.runs.delivery import open_delivery
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.runs.tracker import Tracker
from faceparse.core.runs.tracking_record import (
    Evaluated,
    InputDataset,
    Parcel,
    TrackingRecord,
    outstanding,
    read_tracking,
)
from faceparse.core.settings import TrackingSettings

NAMES = ("train/loss", "val/f1/left_eye")
SPLITS = [InputDataset("faces", f"digest-{role}", "/data/faces", role, 3, "helen") for role in ("train", "val")]
TEST_SPLIT = InputDataset("faces", "digest-test", "/data/faces", "test", 2, "helen")


class Run:
    """A run directory and its tracker, without training."""

    def __init__(self, uri: str, path: Path, **settings: object) -> None:
        self.directory = RunDirectory(path)
        # The server and the database are one store, but whoever makes an experiment says where its files lie.
        experiment = "served" if uri.startswith("http") else "tests"
        self.settings = TrackingSettings.model_validate({"uri": uri, "experiment": experiment, **settings})
        self.warnings: list[str] = []
        self.messages: list[str] = []

    def start(self) -> "Run":
        self.tracker = Tracker.start(
            self.settings,
            self.directory.path,
            self.directory.metrics,
            params={"optim.lr": 0.1},
            tags={"dataset": "faces"},
            datasets=SPLITS,
            warn=self.warnings.append,
            say=self.messages.append,
        )
        return self

    def record(self, *steps: int) -> None:
        for step in steps:
            self.directory.record(step, dict.fromkeys(NAMES, step / 2))
            self.tracker.deliver()

    def write(self, name: str, content: str, folder: str | None = None) -> None:
        path = self.directory.path / name
        path.with_suffix(".new").write_text(content)
        path.with_suffix(".new").replace(path)
        self.tracker.upload(path, folder)

    def save_best(self, epoch: int) -> None:
        path = self.directory.path / "best.pth"
        path.write_text(str(epoch))
        self.tracker.upload_best(path, "checkpoints", epoch)

    def sync(self) -> Parcel:
        path = self.directory.path
        return open_delivery(path, self.directory.metrics).deliver_rest()

    @property
    def tracking(self) -> TrackingRecord:
        tracking = read_tracking(self.directory.path)
        assert tracking is not None
        return tracking

    @property
    def run_id(self) -> str:
        assert self.tracking.run_id is not None
        return self.tracking.run_id

    @property
    def outstanding(self) -> Parcel:
        return outstanding(self.tracking, self.directory.metrics())


@pytest.fixture(scope="session")
def _tables(store: str) -> None:
    """Made before a run waits for them: on a busy machine that takes longer than a run waits."""
    MlflowClient(store).search_experiments()


@pytest.fixture
def make(store: str, tmp_path: Path, _tables: None) -> Callable[..., Run]:
    def make(uri: str = store, folder: str = "run", **settings: object) -> Run:
        return Run(uri, tmp_path / folder, **settings)

    return make


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_thread, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(delivery_thread, "LONGEST_PAUSE", 0.1)


def history(store: str, run_id: str, name: str = NAMES[0]) -> list[tuple[int, float]]:
    """(step, value) of everything that was ever logged under that name."""
    return sorted((metric.step, metric.value) for metric in MlflowClient(store).get_metric_history(run_id, name))


def datasets(store: str, run_id: str) -> list[tuple[str, str, str]]:
    """(context, name, digest) of each input."""
    inputs = MlflowClient(store).get_run(run_id).inputs.dataset_inputs
    return sorted((one.tags[0].value, one.dataset.name, one.dataset.digest) for one in inputs)


def models(store: str, run_id: str) -> list[LoggedModel]:
    client = MlflowClient(store)
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))


def scores(model: LoggedModel) -> list[tuple[str, int, float, str | None]]:
    """(name, step, value, digest of its dataset) of each point."""
    return sorted((one.key, one.step, one.value, one.dataset_digest) for one in model.metrics or [])


def evaluated(metrics: dict[str, float], epoch: int, folder: str = "/none") -> Evaluated:
    return Evaluated(epoch, metrics, {"test.images": "2"}, TEST_SPLIT, folder, "eval/best.pth/test")


def once(*steps: int) -> list[tuple[int, float]]:
    return [(step, step / 2) for step in steps]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def replace_client(monkeypatch: pytest.MonkeyPatch, **methods: Callable[..., Any]) -> None:
    """MLflow's client with some methods changed; each is handed the real client first."""

    class Changed(MlflowClient):
        pass

    for name, method in methods.items():
        setattr(Changed, name, lambda self, *a, _method=method, **k: _method(MlflowClient(self.tracking_uri), *a, **k))
    monkeypatch.setattr(store_module, "MlflowClient", Changed)
