import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from faceparse.core import tracking
from faceparse.core.errors import SettingsError, TrackingError
from faceparse.core.settings import TrackingSettings
from faceparse.core.tracking import (
    Ledger,
    Parcel,
    Tracker,
    check_experiment,
    check_store,
    git_tags,
    log_scores,
    outstanding,
    read_ledger,
    tracking_uri,
)
from faceparse.core.training.run_directory import RunDirectory
from tests.conftest import Server

NAMES = ("train/loss", "val/f1/left_eye")


class Run:
    """A run directory and its tracker, without training."""

    def __init__(self, uri: str, path: Path, **settings: object) -> None:
        self.directory = RunDirectory(path)
        self.settings = TrackingSettings.model_validate({"uri": uri, "experiment": "tests", **settings})
        self.warnings: list[str] = []
        self.messages: list[str] = []

    def start(self) -> "Run":
        self.tracker = Tracker.start(
            self.settings,
            self.directory.path,
            self.directory.metrics,
            params={"optim.lr": 0.1},
            tags={"dataset": "faces"},
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

    def sync(self) -> Parcel:
        path = self.directory.path
        return Tracker(path, read_ledger(path), self.directory.metrics).deliver_rest()

    @property
    def ledger(self) -> Ledger:
        ledger = read_ledger(self.directory.path)
        assert ledger is not None
        return ledger

    @property
    def run_id(self) -> str:
        assert self.ledger.run_id is not None
        return self.ledger.run_id

    @property
    def outstanding(self) -> Parcel:
        return outstanding(self.ledger, self.directory.metrics())


@pytest.fixture
def make(store: str, tmp_path: Path) -> Callable[..., Run]:
    def make(uri: str = store, folder: str = "run", **settings: object) -> Run:
        return Run(uri, tmp_path / folder, **settings)

    return make


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(tracking, "LONGEST_PAUSE", 0.1)


def history(store: str, run_id: str, name: str = NAMES[0]) -> list[tuple[int, float]]:
    """(step, value) of everything that was ever logged under that name."""
    return sorted((metric.step, metric.value) for metric in MlflowClient(store).get_metric_history(run_id, name))


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
    monkeypatch.setattr(tracking, "MlflowClient", Changed)


def test_the_store_is_the_setting_else_the_environments_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(TrackingSettings(uri="sqlite:////x.db")) == "sqlite:////x.db"
    assert tracking_uri(TrackingSettings()) == "http://tracking:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_uri(TrackingSettings()) == f"sqlite:///{tmp_path}/mlflow.db"  # absolute: tests run in tmp_path


# A store that answers


def test_what_is_noted_is_there_to_be_read(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    client = MlflowClient(store)
    assert client.get_run(run.run_id).info.status == "RUNNING"
    run.record(1, 2)
    run.tracker.tag({"best_epoch": "2"})
    run.write("file.txt", "content", "folder")
    run.tracker.finish("FINISHED")
    found = client.get_run(run.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert (found.info.start_time, found.info.end_time) == (
        round(run.ledger.started * 1000),
        round((run.ledger.ended or 0) * 1000),
    )
    assert found.data.params == {"optim.lr": "0.1"}
    assert found.data.tags["dataset"] == "faces"
    assert found.data.tags["best_epoch"] == "2"
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2)] * 2
    times = [metric.timestamp for metric in client.get_metric_history(run.run_id, NAMES[0])]
    assert times == [round(line["time"] * 1000) for line in run.directory.metrics()]
    # The files lie beside the database, wherever a later command is started.
    folder = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / "tests" / run.run_id / "artifacts"
    assert (folder / "folder" / "file.txt").read_text() == "content"
    assert (run.warnings, run.messages) == ([], [])
    assert not run.outstanding
    left = {path.name for path in run.directory.path.iterdir()}
    assert left == {".lock", "metrics.jsonl", "tracking.json", "file.txt"}


def test_a_run_can_be_gone_on_with(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run_id = run.run_id
    run.record(1)
    run.tracker.finish("KILLED")
    run.start()
    until(lambda: MlflowClient(store).get_run(run_id).info.status == "RUNNING")
    run.record(2)
    run.tracker.finish("FINISHED")
    assert (run.run_id, run.tracker.run_id) == (run_id, run_id)
    assert MlflowClient(store).get_run(run_id).info.status == "FINISHED"
    assert history(store, run_id) == once(1, 2)
    assert run.warnings == []


def test_two_runs_share_an_experiment_and_may_have_names(make: Callable[..., Run], store: str) -> None:
    runs = [make(folder=name, experiment="shared", run_name=name.upper()).start() for name in "ab"]
    found = [MlflowClient(store).get_run(run.run_id).info for run in runs]
    assert [info.run_name for info in found] == ["A", "B"]
    assert len({info.experiment_id for info in found}) == 1
    for run in runs:
        run.tracker.finish("FINISHED")


def test_a_tracker_that_is_switched_off_does_nothing(tmp_path: Path, make: Callable[..., Run]) -> None:
    run = make(f"sqlite:///{tmp_path}/off.db", enabled=False).start()
    run.record(1)
    run.tracker.tag({"a": "b"})
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    check_experiment(run.settings)
    assert (run.tracker.uri, run.tracker.run_id, run.warnings) == (None, None, [])
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {path.name for path in run.directory.path.iterdir()} == {".lock", "metrics.jsonl", "file.txt"}
    with pytest.raises(
        TrackingError, match=r"run: not tracked in MLflow \(no tracking\.json in it\); nothing to deliver"
    ):
        run.sync()


# A server that does not answer


def test_a_server_that_comes_after_the_start_gets_everything(
    server: Server, make: Callable[..., Run], store: str
) -> None:
    server.stop()
    run = make(server.uri).start()
    run.record(1, 2)
    run.write("file.txt", "content", "folder")
    until(lambda: run.warnings)
    assert run.tracker.run_id is None
    server.start()
    until(lambda: run.messages)
    run.record(3)
    run.tracker.finish("FINISHED")
    (warning,) = run.warnings
    assert warning == f"MLflow at {server.uri} failed, the run goes on and tries again: Connection refused"
    assert run.messages == [f"MLflow at {server.uri} is back, everything so far is delivered"]
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2, 3)] * 2
    found = MlflowClient(server.uri).get_run(run.run_id)
    assert (found.info.status, found.info.start_time) == ("FINISHED", round(run.ledger.started * 1000))
    assert [file.path for file in MlflowClient(server.uri).list_artifacts(run.run_id, "folder")] == ["folder/file.txt"]


def test_a_server_that_is_lost_twice_gets_every_point_once(
    server: Server, make: Callable[..., Run], store: str
) -> None:
    run = make(server.uri).start()
    for step in (1, 4):
        run.record(step)
        until(lambda step=step: run.ledger.delivered == step)
        server.stop()
        run.record(step + 1, step + 2)
        until(lambda step=step: len(run.warnings) == step // 4 + 1)
        server.start()
        until(lambda step=step: len(run.messages) == step // 4 + 1)
    run.tracker.finish("FINISHED")
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2, 3, 4, 5, 6)] * 2
    assert (len(run.warnings), len(run.messages)) == (2, 2)


def test_what_is_left_at_the_end_is_named_and_delivered_later(
    server: Server, make: Callable[..., Run], store: str
) -> None:
    run = make(server.uri).start()
    run.record(1)
    until(lambda: not run.outstanding)
    server.stop()
    run.record(2, 3)
    run.tracker.tag({"best_epoch": "3"})
    run.write("file.txt", "content")
    run.tracker.finish("FAILED")
    rest = "4 points, 1 params and tags, 1 files, status FAILED"
    assert run.warnings[-1].startswith(f"MLflow at {server.uri}: not delivered: {rest} (")
    assert run.warnings[-1].endswith(f"; later: faceparse sync {run.directory.path}")
    assert len(run.warnings) <= 2  # the loss itself is named where it is seen before the end
    with pytest.raises(TrackingError) as caught:
        run.sync()
    assert str(caught.value).startswith(f"MLflow at {server.uri}: not delivered: {rest} (")
    assert "\n" not in str(caught.value)
    server.start()
    assert run.sync() == Parcel(points=4, labels=1, files=1, status="FAILED")
    assert MlflowClient(store).get_run(run.run_id).info.status == "FAILED"
    assert history(store, run.run_id) == once(1, 2, 3)
    assert run.sync() == Parcel()


def test_training_never_waits(make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, released = threading.Event(), threading.Event()

    def hang(client: MlflowClient, run_id: str, metrics: Any = (), **others: Any) -> None:
        if metrics:
            entered.set()
            assert released.wait(60)
        client.log_batch(run_id, metrics, **others)

    replace_client(monkeypatch, log_batch=hang)
    monkeypatch.setattr(tracking, "END_PATIENCE", 0.05)
    run = make().start()
    until(lambda: not run.outstanding)
    steps = range(1, 51)
    for step in steps:
        run.record(step)
        run.write("best.pth", str(step))
    assert entered.wait(60)
    run.tracker.finish("FINISHED")
    assert history(store, run.run_id) == []  # the whole run took place during the first call
    (warning,) = run.warnings
    assert warning.startswith(f"MLflow at {store}: not delivered: 100 points, 1 files, status FINISHED; later: ")
    before = (run.directory.path / "tracking.json").read_bytes()
    released.set()
    thread = run.tracker._thread
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    assert (run.directory.path / "tracking.json").read_bytes() == before  # the directory may be another's by now
    assert history(store, run.run_id) == once(1)
    assert run.sync() == Parcel(points=98, files=1, status="FINISHED")
    assert [history(store, run.run_id, name) for name in NAMES] == [once(*steps)] * 2


# Exactly once


@pytest.mark.parametrize("part", [1, 2])
def test_an_answer_that_is_lost_repeats_nothing(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    lost: list[int] = []

    def take_and_fail(client: MlflowClient, run_id: str, metrics: Any = (), **others: Any) -> None:
        if not metrics or len(lost) == 3:
            client.log_batch(run_id, metrics, **others)
            return
        lost.append(metrics[0].step)
        client.log_batch(run_id, metrics[:part])
        raise ConnectionError("reset by peer")

    replace_client(monkeypatch, log_batch=take_and_fail)
    run = make().start()
    run.record(1, 2, 3, 4)
    until(lambda: run.ledger.delivered == 4)
    run.tracker.finish("FINISHED")
    assert len(lost) == 3
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2, 3, 4)] * 2


def test_a_run_whose_making_was_not_answered_is_made_once(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make_and_fail(client: MlflowClient, experiment: str, **others: Any) -> None:
        made.append(client.create_run(experiment, **others).info.run_id)
        raise ConnectionError("reset by peer")

    replace_client(monkeypatch, create_run=make_and_fail)
    run = make().start()
    run.record(1)
    until(lambda: run.messages)
    run.tracker.finish("FINISHED")
    assert made == [run.run_id]
    assert history(store, run.run_id) == once(1)


def test_a_process_that_died_before_its_note_repeats_nothing(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(1, 2)
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    run_id, path = run.run_id, run.directory.path / "tracking.json"
    before = {"delivered": 0, "run_id": None, "told": None, "files": {"file.txt": None}}  # as it stood at the start
    path.write_text(json.dumps(json.loads(path.read_text()) | before))
    assert run.sync() == Parcel(files=1, status="FINISHED")
    assert run.run_id == run_id
    assert [history(store, run_id, name) for name in NAMES] == [once(1, 2)] * 2


def test_epochs_that_are_trained_again_are_logged_once(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(1, 2, 3)
    run.tracker.finish("KILLED")
    run.directory.forget_after(1)
    run.start()
    for step in (2, 3, 4):
        run.directory.record(step, dict.fromkeys(NAMES, 10.0 * step))
    run.tracker.finish("FINISHED")
    assert [history(store, run.run_id, name) for name in NAMES] == [[*once(1, 2, 3), (4, 40.0)]] * 2


def test_a_process_that_was_killed_leaves_a_killed_run(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(1)
    until(lambda: not run.outstanding)
    assert run.sync() == Parcel(status="KILLED")  # nobody else holds the directory
    info = MlflowClient(store).get_run(run.run_id).info
    assert (info.status, info.end_time) == ("KILLED", round(run.directory.metrics()[-1]["time"] * 1000))


# Files


def test_a_file_is_uploaded_as_it_was_saved_and_the_newest_stays(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make()
    seen: list[str] = []

    def replace_meanwhile(client: MlflowClient, run_id: str, path: str, folder: str | None) -> None:
        seen.append(Path(path).read_text())
        if len(seen) == 1:
            run.write("best.pth", "second", "checkpoints")
        assert Path(path).read_text() == seen[-1]
        client.log_artifact(run_id, path, folder)

    replace_client(monkeypatch, log_artifact=replace_meanwhile)
    run.start()
    run.write("best.pth", "first", "checkpoints")
    until(lambda: len(seen) == 2 and not run.outstanding.files)
    run.tracker.finish("FINISHED")
    assert seen == ["first", "second"]
    folder = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts" / "tests" / run.run_id / "artifacts"
    assert (folder / "checkpoints" / "best.pth").read_text() == "second"
    assert run.warnings == []


def test_a_refused_file_keeps_nothing_else_back(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: MlflowClient, run_id: str, path: str, folder: str | None) -> None:
        if path.endswith("large"):
            raise MlflowException("413 too large\nfor this proxy")
        client.log_artifact(run_id, path, folder)

    replace_client(monkeypatch, log_artifact=refuse)
    run = make().start()
    run.write("large", "x" * 100)
    run.write("small", "x")
    run.write("gone", "")
    (run.directory.path / "gone").unlink()
    run.record(1)
    run.tracker.finish("FINISHED")
    assert run.warnings[-1] == (
        f"MLflow at {store}: not delivered: 1 files (413 too large); later: faceparse sync {run.directory.path}"
    )
    client = MlflowClient(store)
    assert [file.path for file in client.list_artifacts(run.run_id)] == ["small"]
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert history(store, run.run_id) == once(1)


def test_a_file_that_is_gone_is_said(server: Server, make: Callable[..., Run]) -> None:
    server.stop()
    run = make(server.uri).start()
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    (run.directory.path / "file.txt").unlink()
    server.start()
    assert str(run.sync()) == "2 params and tags, 1 files that are gone, status FINISHED"


# Before and after a run


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
    monkeypatch.setattr(tracking, "START_PATIENCE", 0.05)
    check_experiment(TrackingSettings(uri="http://127.0.0.1:9"))
    released.set()


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"uri": "x"}'):
        (tmp_path / "tracking.json").write_text(content)
        with pytest.raises(SettingsError) as caught:
            read_ledger(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path}/tracking.json: cannot be read (")
        assert "\n" not in str(caught.value)


def test_scores_are_added_to_a_finished_run(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.tracker.finish("FINISHED")
    assert log_scores(store, run.run_id, {"test/f1_mean": 0.25}, {"test.images": "3"}, 7, warn=pytest.fail)
    assert history(store, run.run_id, "test/f1_mean") == [(7, 0.25)]
    assert MlflowClient(store).get_run(run.run_id).data.tags["test.images"] == "3"


def test_scores_of_a_run_that_is_gone_are_a_warning(store: str, tmp_path: Path) -> None:
    warnings: list[str] = []
    for uri in (store, f"sqlite:///{tmp_path}/none.db"):
        assert not log_scores(uri, "0" * 32, {"test/f1_mean": 0.25}, {}, 7, warn=warnings.append)
        assert warnings.pop().startswith(f"MLflow at {uri} failed, the scores are not logged there: ")
    assert warnings == []
    assert list(tmp_path.iterdir()) == []  # no empty database


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
