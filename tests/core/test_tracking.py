import subprocess
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from faceparse.core.errors import SettingsError
from faceparse.core.settings import TrackingSettings
from faceparse.core.tracking import Tracker, check_store, git_tags, tracking_uri


def start(uri: str, warnings: list[str], experiment: str = "tests", **keywords: str) -> Tracker:
    settings = TrackingSettings(uri=uri, experiment=experiment)
    given = {"params": {"optim.lr": 0.1}, "tags": {"dataset": "faces"}, "run_name": "one", **keywords}
    return Tracker.start(settings, warn=warnings.append, **given)  # type: ignore[arg-type]


def test_the_store_is_the_setting_else_the_environments_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(TrackingSettings(uri="sqlite:////x.db")) == "sqlite:////x.db"
    assert tracking_uri(TrackingSettings()) == "http://tracking:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(TrackingSettings()) == f"sqlite:///{tmp_path}/mlflow.db"  # absolute: tests run in tmp_path


def test_what_is_logged_is_there_to_be_read(store: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = start(store, warnings)
    assert tracker.active
    assert tracker.run_id is not None
    client = MlflowClient(store)
    assert client.get_run(tracker.run_id).info.status == "RUNNING"
    tracker.log({"val/f1/left_eye": 0.5, "train/loss": 2.0}, step=1)
    tracker.log({"train/loss": 1.0}, step=2)
    tracker.tag({"best_epoch": "2"})
    (tmp_path / "file.txt").write_text("content")
    tracker.log_file(tmp_path / "file.txt", "folder")
    tracker.finish("FINISHED")
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "one")
    assert run.data.params == {"optim.lr": "0.1"}
    assert run.data.tags["dataset"] == "faces"
    assert run.data.tags["best_epoch"] == "2"
    history = client.get_metric_history(tracker.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 2.0), (2, 1.0)]
    # The files lie beside the database, wherever a later command is started.
    folder = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / "tests" / tracker.run_id / "artifacts"
    assert (folder / "folder" / "file.txt").read_text() == "content"
    assert warnings == []


def test_a_run_can_be_gone_on_with(store: str) -> None:
    warnings: list[str] = []
    first = start(store, warnings)
    first.finish("KILLED")
    second = start(store, warnings, run_id=str(first.run_id), run_name="two")
    assert second.run_id == first.run_id
    run = MlflowClient(store).get_run(str(first.run_id))
    assert (run.info.status, run.info.run_name) == ("RUNNING", "one")
    second.finish("FINISHED")
    assert warnings == []


def test_two_runs_share_an_experiment(store: str) -> None:
    runs = [start(store, [], experiment="shared").run_id for _ in range(2)]
    client = MlflowClient(store)
    assert runs[0] != runs[1]
    assert len({client.get_run(str(run)).info.experiment_id for run in runs}) == 1


def test_a_run_may_have_a_name_of_its_own(store: str) -> None:
    settings = TrackingSettings(uri=store, experiment="tests", run_name="mine")
    tracker = Tracker.start(settings, params={}, tags={}, run_name="theirs", warn=print)
    assert MlflowClient(store).get_run(str(tracker.run_id)).info.run_name == "mine"


def test_a_tracker_that_is_switched_off_does_nothing(tmp_path: Path) -> None:
    settings = TrackingSettings(enabled=False, uri=f"sqlite:///{tmp_path}/off.db")
    tracker = Tracker.start(settings, params={}, tags={}, run_name="x", warn=pytest.fail)
    tracker.log({"a": 1.0}, step=1)
    tracker.tag({"a": "b"})
    tracker.log_file(tmp_path / "nothing")
    tracker.finish("FINISHED")
    assert (tracker.active, tracker.run_id, tracker.uri) == (False, None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [MlflowException("first line\nsecond line"), ConnectionError("refused")])
def test_a_store_that_fails_on_the_way_is_given_up_with_one_warning(
    store: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    warnings: list[str] = []
    tracker = start(store, warnings)
    run_id = tracker.run_id

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    for step in (1, 2):
        tracker.log({"train/loss": 1.0}, step=step)
    tracker.finish("FINISHED")
    reason = str(error).splitlines()[0]
    assert warnings == [f"MLflow at {store} failed, nothing more is logged there: {reason}"]
    assert not tracker.active
    assert tracker.run_id == run_id  # the checkpoint still says where it belongs


def test_more_can_be_logged_to_a_finished_run(store: str) -> None:
    warnings: list[str] = []
    tracker = start(store, warnings)
    tracker.finish("FINISHED")
    attached = Tracker.attach(store, str(tracker.run_id), warnings.append)
    attached.log({"test/f1_mean": 0.25}, step=7)
    (metric,) = MlflowClient(store).get_metric_history(str(tracker.run_id), "test/f1_mean")
    assert (metric.step, metric.value) == (7, 0.25)
    assert warnings == []


def test_a_run_that_is_gone_is_a_warning(store: str) -> None:
    warnings: list[str] = []
    attached = Tracker.attach(store, "0" * 32, warnings.append)
    assert not attached.active
    assert len(warnings) == 1
    assert warnings[0].startswith(f"MLflow at {store} failed, nothing more is logged there: ")


def test_a_deleted_experiment_is_named_with_the_way_out(store: str) -> None:
    tracker = start(store, [], experiment="deleted")
    client = MlflowClient(store)
    client.delete_experiment(client.get_run(str(tracker.run_id)).info.experiment_id)
    with pytest.raises(SettingsError) as caught:
        start(store, [], experiment="deleted")
    expected = f"deleted in MLflow at {store}; restore it or choose another name"
    assert str(caught.value) == f"tracking.experiment = 'deleted': {expected}"


def test_a_store_is_tried_out(store: str) -> None:
    check_store(store)
    with pytest.raises(SettingsError) as caught:
        check_store("sqlite:////proc/none/mlflow.db")
    assert str(caught.value).startswith("MLflow store sqlite:////proc/none/mlflow.db cannot be opened: ")
    assert "\n" not in str(caught.value)


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_of_a_repository_is_a_tag(tmp_path: Path) -> None:
    assert git_tags(tmp_path) == {}
    git(tmp_path, "init")
    assert git_tags(tmp_path) == {}  # nothing committed yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "new").write_text("not tracked")
    (tmp_path / "below").mkdir()
    assert git_tags(tmp_path / "below") == {"mlflow.source.git.commit": commit, "git.dirty": "false"}
    (tmp_path / "file").write_text("two")
    assert git_tags(tmp_path) == {"mlflow.source.git.commit": commit, "git.dirty": "true"}


def test_a_machine_without_git_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_tags(Path(__file__).parent) == {}
