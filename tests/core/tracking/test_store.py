import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from faceparse.core.errors import SettingsError
from faceparse.core.settings import TrackingSettings
from faceparse.core.tracking import store as store_module
from faceparse.core.tracking.store import check_experiment, check_store, log_evaluation, tracking_uri
from tests.conftest import Server
from tests.core.tracking.conftest import Run, datasets, evaluated, history, models, replace_client, scores


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
        check_experiment(TrackingSettings(uri=store, experiment="deleted"))
    expected = f"deleted in MLflow at {store}; restore it or choose another name"
    assert str(caught.value) == f"tracking.experiment = 'deleted': {expected}"


@pytest.mark.parametrize("uri", ["sqlite:////proc/no/mlflow.db", "nonsense://x"])
def test_a_store_that_can_never_work_is_a_mistake(uri: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_experiment(TrackingSettings(uri=uri))
    assert str(caught.value).startswith(f"MLflow store {uri} cannot be opened: ")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_away_is_no_mistake(server: Server) -> None:
    server.stop()
    check_experiment(TrackingSettings(uri=server.uri))


def test_a_server_that_hangs_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    replace_client(monkeypatch, get_experiment_by_name=lambda *_: released.wait(60))
    monkeypatch.setattr(store_module, "START_PATIENCE", 0.05)
    check_experiment(TrackingSettings(uri="http://127.0.0.1:9"))
    released.set()


def test_scores_are_added_to_a_finished_run_and_its_logged_model(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(7)
    run.save_best(7)
    run.tracker.finish("FINISHED")

    def add(value: float, epoch: int) -> None:
        assert log_evaluation(store, run.run_id, evaluated({"test/f1_mean": value, "test/miou": 0.5}, epoch)) is None

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
        assert str(log_evaluation(uri, "0" * 32, evaluated({"test/f1_mean": 0.25}, 7))).startswith(expected)
    assert list(tmp_path.iterdir()) == []  # no empty database


def test_a_store_is_tried_out(store: str) -> None:
    check_store(store)
    with pytest.raises(SettingsError) as caught:
        check_store("sqlite:////proc/none/mlflow.db")
    assert str(caught.value).startswith("MLflow store sqlite:////proc/none/mlflow.db cannot be opened: ")
    assert "\n" not in str(caught.value)
