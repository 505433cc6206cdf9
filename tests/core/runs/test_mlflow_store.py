import re
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.tracking import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from faceparse.core.errors import SettingsError
from faceparse.core.runs import mlflow_store as store_module
from faceparse.core.runs.mlflow_failures import WithheldError, reason
from faceparse.core.runs.mlflow_store import (
    Store,
    check_experiment,
    check_store,
    log_evaluation,
    log_folder,
    mlflow_name,
    tracking_uri,
)
from faceparse.core.settings import TrackingSettings
from tests.conftest import Server
from tests.core.runs.conftest import Run, datasets, evaluated, history, models, replace_client, scores


def test_the_store_is_the_setting_else_the_environments_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(TrackingSettings(uri="sqlite:////x.db")) == "sqlite:////x.db"
    assert tracking_uri(TrackingSettings()) == "http://tracking:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(TrackingSettings()) == f"sqlite:///{tmp_path}/mlflow.db"  # absolute: tests run in tmp_path


def test_a_deleted_experiment_is_named_with_the_way_out(store: str) -> None:
    client = MlflowClient(store)
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(SettingsError) as caught:
        check_experiment(TrackingSettings(uri=store, experiment="deleted"), warn=pytest.fail)
    expected = f"deleted in MLflow at {store}; restore it or choose another name"
    assert str(caught.value) == f"tracking.experiment = 'deleted': {expected}"


@pytest.mark.parametrize("uri", ["sqlite:////proc/no/mlflow.db", "nonsense://x"])
def test_a_store_that_can_never_work_is_a_mistake(uri: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_experiment(TrackingSettings(uri=uri), warn=pytest.fail)
    assert str(caught.value).startswith(f"MLflow store {uri} cannot be opened: ")
    assert "\n" not in str(caught.value)


def test_a_database_that_takes_nothing_says_so_itself(tmp_path: Path) -> None:
    """Not what SQLAlchemy says of when that happened."""
    path = tmp_path / "mlflow.db"
    client = MlflowClient(f"sqlite:///{path}")
    run = client.create_run("0")
    with sqlite3.connect(path) as database:
        database.execute("create trigger full before update on runs begin select raise(abort, 'no room'); end")
    with pytest.raises(MlflowException) as caught:
        client.set_terminated(run.info.run_id)
    assert "\n" in str(caught.value)
    assert reason(caught.value) == "no room"


def test_a_server_that_is_away_is_no_mistake(server: Server) -> None:
    server.stop()
    check_experiment(TrackingSettings(uri=server.uri), warn=pytest.fail)


def test_a_server_that_hangs_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object) -> None:
        released.wait(60)

    replace_client(monkeypatch, get_experiment_by_name=hang)
    monkeypatch.setattr(store_module, "START_PATIENCE", 0.05)
    check_experiment(TrackingSettings(uri="http://127.0.0.1:9"), warn=pytest.fail)
    released.set()


def test_scores_are_added_to_a_finished_run_and_its_logged_model(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(7)
    run.save_best(7)
    run.tracker.finish("FINISHED")

    def add(value: float, epoch: int) -> None:
        assert (
            log_evaluation(
                store, run.run_id, evaluated({"test/f1_mean": value, "test/miou": 0.5}, epoch), warn=pytest.fail
            )
            is None
        )

    for _ in range(2):  # scored again, it is what it was
        add(0.25, 7)
    assert history(store, run.run_id, "test/f1_mean") == [(7, 0.25)]
    assert MlflowClient(store).get_run(run.run_id).data.tags["test.images"] == "2"
    assert ("test", "faces", "digest-test") in datasets(store, run.run_id)
    assert len(datasets(store, run.run_id)) == 3
    expected = [("test/f1_mean", 7, 0.25, "digest-test"), ("test/miou", 7, 0.5, "digest-test")]
    (model,) = models(store, run.run_id)
    assert scores(model) == [*expected, ("val/f1/left_eye", 7, 3.5, "digest-val")]
    add(0.75, 8)  # another checkpoint of that run
    assert history(store, run.run_id, "test/f1_mean") == [(7, 0.25), (8, 0.75)]
    assert [scores(one) for one in models(store, run.run_id)] == [scores(model)]
    for _ in range(2):
        add(0.5, 7)  # the code has changed
    assert history(store, run.run_id, "test/f1_mean") == [(7, 0.25), (7, 0.5), (8, 0.75)]


def test_scores_that_cannot_be_logged_have_a_reason(store: str, tmp_path: Path) -> None:
    for uri, expected in ((store, "Run with id=0000"), (f"sqlite:///{tmp_path}/none.db", "the database is not there")):
        assert str(log_evaluation(uri, "0" * 32, evaluated({"test/f1_mean": 0.25}, 7), warn=pytest.fail)).startswith(
            expected
        )
    assert list(tmp_path.iterdir()) == []  # no empty database


def test_a_store_is_tried_out(store: str) -> None:
    check_store(store)
    with pytest.raises(SettingsError) as caught:
        check_store("sqlite:////proc/none/mlflow.db")
    assert str(caught.value).startswith("MLflow store sqlite:////proc/none/mlflow.db cannot be opened: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["val/f1/left_eye", "val/f1/皮肤", "a b:c.d-e", "x" * 250])
def test_names_that_mlflow_takes_stay(name: str) -> None:
    assert mlflow_name(name) == name


def test_names_that_mlflow_refuses_become_others_that_differ() -> None:
    assert re.fullmatch(r"val/f1/skin _face_-[0-9a-f]{4}", mlflow_name("val/f1/skin (face)"))
    assert re.fullmatch(r"val/f1/mouth/lips_ open-[0-9a-f]{4}", mlflow_name("val/f1/mouth/lips, open"))
    hard = ["a(b", "a[b", "a//b", "/a", "a/", "a/../b", "..", ".", "", "a\nb", "\ud800", "x" * 251, "x" * 250 + "y"]
    taken = [mlflow_name(name) for name in hard]
    assert len(set(taken)) == len(hard)
    for name in taken:
        assert mlflow_name(name) == name
        _validate_metric_name(name)
        assert len(name) <= 250


@pytest.mark.parametrize(
    ("experiment", "folder"),
    [
        ("/Shared/faces", "Shared-faces"),
        ("/Users/me@example.org/faces", "Users-me-example.org-faces"),
        ("..", "experiment"),
    ],
)
def test_an_experiment_has_any_name_and_a_folder_beside_the_database(
    make: Callable[..., Run], store: str, experiment: str, folder: str
) -> None:
    run = make(experiment=experiment).start()
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    found = MlflowClient(store).get_experiment_by_name(experiment)
    place = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / folder
    assert found.artifact_location == place.as_uri()
    assert (place / run.run_id / "artifacts" / "file.txt").is_file()


def test_an_experiment_that_mlflow_refuses_is_a_mistake(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(client: MlflowClient, name: str, **_: object) -> None:
        raise MlflowException("an absolute path,\nplease", error_code=INVALID_PARAMETER_VALUE)

    replace_client(monkeypatch, create_experiment=refuse)
    with pytest.raises(SettingsError) as caught:
        check_experiment(TrackingSettings(uri=store, experiment="relative"), warn=pytest.fail)
    expected = f"MLflow at {store} refuses it: an absolute path,"
    assert str(caught.value) == f"tracking.experiment = 'relative': {expected}"


def test_an_experiment_that_another_run_makes_meanwhile_is_taken(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(client: MlflowClient, name: str, **others: Any) -> None:
        client.create_experiment(name, **others)
        client.create_experiment(name, **others)

    replace_client(monkeypatch, create_experiment=lose)
    check_experiment(TrackingSettings(uri=store, experiment="wanted by two"), warn=pytest.fail)
    assert MlflowClient(store).get_experiment_by_name("wanted by two") is not None


def test_a_deleted_run_takes_no_scores_and_says_how_to_get_it_back(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.tracker.finish("FINISHED")
    MlflowClient(store).delete_run(run.run_id)
    expected = f"run {run.run_id} was deleted there; 'mlflow runs restore --run-id {run.run_id}' brings it back"
    assert log_evaluation(store, run.run_id, evaluated({"test/miou": 0.5}, 1), warn=pytest.fail) == expected
    warnings: list[str] = []
    assert not log_folder(store, run.run_id, Path("report"), "report", warn=warnings.append)
    assert warnings == [f"MLflow at {store} failed, report is not uploaded: {expected}"]


def test_a_server_that_only_a_run_names_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a store passes here: training that goes on, sync, eval and the registry."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    with pytest.raises(WithheldError, match="MLFLOW_TRACKING_USERNAME may be for another server; if it is yours, set "):
        Store("http://127.0.0.1:9")
    warnings = list[str]()
    assert not log_folder("http://127.0.0.1:9", "run", Path("report"), "report", warn=warnings.append)
    assert "only a run's file names it" in warnings[0]


def test_a_stranger_s_database_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as database:
        database.execute("create table experiments (a)")
    before = path.read_bytes()
    with pytest.raises(sqlite3.DatabaseError, match="this file is not a database of MLflow"):
        Store(f"sqlite:///{path}", must_exist=True)
    assert path.read_bytes() == before
    empty = tmp_path / "empty.db"
    empty.touch()
    with pytest.raises(FileNotFoundError, match="the database is not there"):
        Store(f"sqlite:///{empty}", must_exist=True)
    assert empty.read_bytes() == b""
