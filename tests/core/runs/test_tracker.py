import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INVALID_PARAMETER_VALUE
from mlflow.tracking import MlflowClient

from faceparse.core.errors import InterruptedRunError, TrackingError, TrainingError
from faceparse.core.runs import tracker
from faceparse.core.runs.mlflow_store import check_experiment, log_evaluation, mlflow_name
from faceparse.core.runs.tracking_record import Parcel
from tests.conftest import Server
from tests.core.runs.conftest import (
    NAMES,
    SPLITS,
    Run,
    datasets,
    evaluated,
    history,
    models,
    once,
    replace_client,
    scores,
    until,
)

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
        round(run.tracking.started * 1000),
        round((run.tracking.ended or 0) * 1000),
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


def test_an_experiment_is_shown_as_one_of_models(make: Callable[..., Run], store: str) -> None:
    make(experiment="shown").start().tracker.finish("FINISHED")
    found = MlflowClient(store).get_experiment_by_name("shown")
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"


def test_two_runs_share_an_experiment_and_may_have_names(make: Callable[..., Run], store: str) -> None:
    runs = [make(folder=name, experiment="shared", run_name=name.upper()).start() for name in "ab"]
    found = [MlflowClient(store).get_run(run.run_id).info for run in runs]
    assert [info.run_name for info in found] == ["A", "B"]
    assert len({info.experiment_id for info in found}) == 1
    for run in runs:
        run.tracker.finish("FINISHED")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "FINISHED"),
        (TrainingError("nan"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (InterruptedRunError("stopped", 143), "KILLED"),
    ],
)
def test_a_run_is_closed_as_what_it_came_to(
    make: Callable[..., Run], store: str, error: BaseException | None, status: str
) -> None:
    run = make().start()
    with suppress(TrainingError, KeyboardInterrupt, InterruptedRunError), run.tracker:
        if error:
            raise error
    assert MlflowClient(store).get_run(run.run_id).info.status == status


def test_a_run_below_another_is_its_child(make: Callable[..., Run], store: str) -> None:
    above = make().start()
    child = make("sqlite:////proc/elsewhere.db", "run/trial-001").start()  # its parent's store counts
    for one in (child, above):
        one.tracker.finish("FINISHED")
    assert child.tracker.uri == store
    assert MlflowClient(store).get_run(child.run_id).data.tags["mlflow.parentRunId"] == above.run_id
    assert "mlflow.parentRunId" not in MlflowClient(store).get_run(above.run_id).data.tags


def test_a_child_waits_for_its_parent(server: Server, make: Callable[..., Run], store: str, tmp_path: Path) -> None:
    server.stop()
    above, child = make(server.uri), make(server.uri, "run/trial-001")
    for one in (above, child):
        one.start().tracker.finish("FINISHED")
    server.start()
    with pytest.raises(TrackingError) as caught:
        child.sync()
    expected = f"its sweep is not in MLflow yet; first: faceparse sync {tmp_path}/run"
    assert str(caught.value) == f"{tmp_path}/run/trial-001: {expected}"
    above.sync()
    child.sync()
    assert MlflowClient(store).get_run(child.run_id).data.tags["mlflow.parentRunId"] == above.run_id


def test_a_tracker_that_is_switched_off_does_nothing(tmp_path: Path, make: Callable[..., Run]) -> None:
    run = make(f"sqlite:///{tmp_path}/off.db", enabled=False).start()
    run.record(1)
    run.tracker.tag({"a": "b"})
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    check_experiment(run.settings, warn=pytest.fail)
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
    assert (found.info.status, found.info.start_time) == ("FINISHED", round(run.tracking.started * 1000))
    assert [file.path for file in MlflowClient(server.uri).list_artifacts(run.run_id, "folder")] == ["folder/file.txt"]


def test_a_server_that_is_lost_twice_gets_every_point_once(
    server: Server, make: Callable[..., Run], store: str
) -> None:
    run = make(server.uri).start()
    for step in (1, 4):
        run.record(step)
        until(lambda step=step: run.tracking.delivered == step)
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
    monkeypatch.setattr(tracker, "END_PATIENCE", 0.05)
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
    until(lambda: run.tracking.delivered == 4)
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


# Datasets and the logged model


def test_a_run_knows_its_datasets(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.tracker.finish("FINISHED")
    assert datasets(store, run.run_id) == [("train", "faces", "digest-train"), ("val", "faces", "digest-val")]
    found = MlflowClient(store).get_run(run.run_id).inputs.dataset_inputs[0].dataset
    assert (found.source_type, json.loads(found.source)) == ("local", {"uri": "/data/faces"})
    assert json.loads(found.profile) == {"images": 3, "label_set": "helen"}
    repeat(run, datasets=[asdict(dataset) for dataset in SPLITS])
    assert run.sync() == Parcel(datasets=2)
    assert len(datasets(store, run.run_id)) == 2


def test_the_best_checkpoint_is_a_logged_model_with_its_scores(make: Callable[..., Run], store: str) -> None:
    run = make(run_name="a/b:c.1").start()
    for epoch in (1, 2, 3):
        run.record(epoch)
        if epoch < 3:
            run.save_best(epoch)
    until(lambda: not run.outstanding)
    assert models(store, run.run_id) == []  # which one is the best is not known before the end
    run.tracker.finish("FINISHED")
    (model,) = models(store, run.run_id)
    assert scores(model) == [("val/f1/left_eye", 2, 1.0, "digest-val")]
    assert (model.name, model.status.value, model.model_type) == ("a-b-c-1", "READY", "EAGRNet")
    assert model.params == {"optim.lr": "0.1"}
    assert model.tags["checkpoint"] == f"runs:/{run.run_id}/checkpoints/best.pth"
    outputs = MlflowClient(store).get_run(run.run_id).outputs.model_outputs
    assert [(output.model_id, output.step) for output in outputs] == [(model.model_id, 2)]
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2, 3)] * 2


def test_a_logged_model_is_made_once(make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call it is whose answer is lost."""
    calls = ["create_logged_model", "log_batch", "finalize_logged_model", "log_outputs", "delete_logged_model"]
    lost: list[str] = []

    def losing(name: str) -> Callable[..., Any]:
        def call(client: MlflowClient, *arguments: Any, **others: Any) -> Any:
            done = getattr(client, name)(*arguments, **others)
            if name not in lost and (name != "log_batch" or any(m.model_id for m in others.get("metrics", ()))):
                lost.append(name)
                raise ConnectionError("reset by peer")
            return done

        return call

    run = make().start()
    run.record(1)
    run.save_best(1)
    run.tracker.finish("KILLED")
    (first,) = models(store, run.run_id)
    run.start()
    run.record(2)
    run.save_best(2)
    until(lambda: not run.outstanding)
    replace_client(monkeypatch, **{name: losing(name) for name in calls})
    assert run.tracker._thread is not None
    run.tracker._thread.delivery._store = None  # ask the new client
    run.tracker.finish("FINISHED")
    for _ in calls[len(lost) :]:  # the thread may have tried once or twice
        with pytest.raises(TrackingError, match="not delivered: 1 logged models .*reset by peer"):
            run.sync()
    assert run.sync() == Parcel(models=1)
    assert lost == calls
    (second,) = models(store, run.run_id)
    assert second.model_id != first.model_id  # whose file is no more
    assert scores(second) == [("val/f1/left_eye", 2, 1.0, "digest-val")]
    assert len(MlflowClient(store).get_run(run.run_id).outputs.model_outputs) == 2
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2)] * 2


def test_an_epoch_that_is_trained_again_is_linked_as_it_was_logged(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(1, 2)
    until(lambda: not run.outstanding)
    repeat(run, status="KILLED")
    run.directory.forget_after(1)
    run.start()
    run.directory.record(2, dict.fromkeys(NAMES, 10.0))
    run.save_best(2)
    run.tracker.finish("FINISHED")
    (model,) = models(store, run.run_id)
    assert scores(model) == [("val/f1/left_eye", 2, 1.0, "digest-val")]
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2)] * 2


def test_a_run_that_was_killed_has_its_logged_model_from_sync(
    server: Server, make: Callable[..., Run], store: str
) -> None:
    server.stop()
    run = make(server.uri).start()
    run.record(1)
    run.save_best(1)
    run.tracker.finish("KILLED")
    server.start()
    assert run.sync() == Parcel(points=2, labels=2, datasets=2, models=1, files=1, status="KILLED")
    (model,) = models(store, run.run_id)
    assert scores(model) == [("val/f1/left_eye", 1, 0.5, "digest-val")]


def test_an_evaluation_that_was_noted_is_delivered_once(make: Callable[..., Run], store: str, tmp_path: Path) -> None:
    run = make().start()
    run.record(1)
    run.save_best(1)
    run.tracker.finish("FINISHED")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "scores.json").write_text("{}")
    noted = asdict(evaluated({"test/miou": 0.5}, 1, str(tmp_path / "report")))
    for _ in range(2):  # the second time, a process has died before it could note the first
        repeat(run, evaluations=[noted])
        assert run.sync() == Parcel(evaluations=1)
    assert history(store, run.run_id, "test/miou") == [(1, 0.5)]
    (model,) = models(store, run.run_id)
    assert ("test/miou", 1, 0.5, "digest-test") in scores(model)
    artifacts = MlflowClient(store).list_artifacts(run.run_id, "eval/best.pth/test")
    assert [file.path for file in artifacts] == ["eval/best.pth/test/scores.json"]


def test_a_server_without_logged_models_gets_everything_else(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: MlflowClient, *_: Any) -> None:
        raise MlflowException("404 Not Found", error_code=ENDPOINT_NOT_FOUND)

    replace_client(monkeypatch, search_logged_models=refuse)
    run = make().start()
    run.record(1)
    run.save_best(1)
    run.tracker.finish("FINISHED")
    assert (run.warnings, bool(run.outstanding)) == ([], False)
    assert log_evaluation(store, run.run_id, evaluated({"test/miou": 0.5}, 1), warn=pytest.fail) is None
    assert history(store, run.run_id, "test/miou") == [(1, 0.5)]
    assert history(store, run.run_id) == once(1)


def repeat(run: Run, **noted: object) -> None:
    """What is noted becomes what it was before a process could note more."""
    path = run.directory.path / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | noted))


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
    assert str(run.sync()) == "2 params and tags, 2 datasets, 1 files that are gone, status FINISHED"


# What MLflow does not take


def test_any_class_name_is_delivered(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    names = ["val/f1/skin (face)", "val/f1/skin [face]", "val/f1/mouth/lips, open", "val/f1/皮肤"]
    run.directory.record(1, dict.fromkeys(names, 0.5))
    run.tracker.tag({"best (of all)": "1"})
    run.save_best(1)
    run.tracker.finish("FINISHED")
    found = MlflowClient(store).get_run(run.run_id)
    assert set(found.data.metrics) == {mlflow_name(name) for name in names}
    assert found.data.tags[mlflow_name("best (of all)")] == "1"
    (model,) = models(store, run.run_id)
    assert {metric.key for metric in model.metrics} == {mlflow_name(name) for name in names}
    assert log_evaluation(store, run.run_id, evaluated({"my (set)/f1_mean": 0.5}, 1), warn=pytest.fail) is None
    assert history(store, run.run_id, mlflow_name("my (set)/f1_mean")) == [(1, 0.5)]
    assert (run.warnings, bool(run.outstanding)) == ([], False)


def refuse_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a server does that takes less than the client."""
    refusal = MlflowException("no,\nthank you", error_code=INVALID_PARAMETER_VALUE)

    def log_batch(client: MlflowClient, run_id: str, **entities: Any) -> None:
        if any("bad" in one.key for kind in ("metrics", "params", "tags") for one in entities[kind]):
            raise refusal
        client.log_batch(run_id, **entities)

    def log_artifact(client: MlflowClient, run_id: str, path: str, folder: str | None) -> None:
        if "bad" in path:
            raise refusal
        client.log_artifact(run_id, path, folder)

    def log_inputs(client: MlflowClient, run_id: str, inputs: Any) -> None:
        if "digest-val" in {one.dataset.digest for one in inputs}:
            raise refusal
        client.log_inputs(run_id, inputs)

    def refuse(*_: object, **__: object) -> None:
        raise refusal

    calls = {"log_batch": log_batch, "log_artifact": log_artifact, "log_inputs": log_inputs}
    replace_client(monkeypatch, **calls, create_logged_model=refuse)


def test_what_is_refused_is_left_out_and_all_else_is_delivered(
    make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_some(monkeypatch)
    run = make().start()
    for step in (1, 2):
        run.directory.record(step, dict.fromkeys((*NAMES, "val/bad"), step / 2))
        run.tracker.deliver()
    run.tracker.tag({"bad": "x", "good": "y"})
    run.write("bad.txt", "x")
    run.write("good.txt", "y")
    run.save_best(1)
    run.tracker.finish("FINISHED")
    client = MlflowClient(store)
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert [history(store, run.run_id, name) for name in NAMES] == [once(1, 2)] * 2
    assert ("bad" in found.data.tags, found.data.tags["good"], found.data.params) == (False, "y", {"optim.lr": "0.1"})
    assert sorted(file.path for file in client.list_artifacts(run.run_id)) == ["checkpoints", "good.txt"]
    assert [context for context, *_ in datasets(store, run.run_id)] == ["train"]
    assert not run.outstanding
    left_out = {"val/bad", "bad", "dataset faces (val)", "bad.txt", "the logged model"}
    assert run.tracking.refused == dict.fromkeys(left_out, "no,")
    assert sorted(run.warnings) == sorted(
        f"MLflow at {store} refuses {what} (no,); left out there, all the rest is delivered" for what in left_out
    )


def test_sync_counts_what_is_refused(
    server: Server, make: Callable[..., Run], store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    run = make(server.uri).start()
    run.directory.record(1, {"val/bad": 0.5, NAMES[0]: 0.5})
    run.tracker.finish("FINISHED")
    server.start()
    refuse_some(monkeypatch)
    expected = "1 points, 2 params and tags, 1 datasets, 2 left out, as tracking.json says, status FINISHED"
    assert str(run.sync()) == expected
    assert not run.outstanding
    assert history(store, run.run_id) == once(1)


def test_a_deleted_run_says_how_to_get_it_back(make: Callable[..., Run], store: str) -> None:
    run = make().start()
    run.record(1)
    until(lambda: not run.outstanding)
    client = MlflowClient(store)
    client.delete_run(run.run_id)
    run.record(2)
    run.tracker.finish("FINISHED")
    deleted = f"run {run.run_id} was deleted there; 'mlflow runs restore --run-id {run.run_id}' brings it back"
    with pytest.raises(TrackingError) as caught:
        run.sync()
    rest = "2 points, status FINISHED"
    assert str(caught.value) == f"MLflow at {store}: not delivered: {rest} ({deleted})"
    assert deleted in run.warnings[-1]
    assert run.tracking.refused == {}  # one that was deleted refuses everything
    client.restore_run(run.run_id)
    assert run.sync() == Parcel(points=2, status="FINISHED")


def test_a_run_that_is_deleted_before_its_end_is_told_so(make: Callable[..., Run], store: str) -> None:
    """Where nothing but its status is outstanding."""
    run = make().start()
    run.record(1)
    until(lambda: not run.outstanding)
    MlflowClient(store).delete_run(run.run_id)
    run.tracker.finish("FINISHED")
    assert f"run {run.run_id} was deleted there" in run.warnings[-1]


def test_of_a_folder_that_a_ledger_names_only_the_report_is_uploaded(
    make: Callable[..., Run], store: str, tmp_path: Path
) -> None:
    run = make().start()
    run.tracker.finish("FINISHED")
    report, secret = tmp_path / "report", tmp_path / "id_rsa"
    (report / "worst").mkdir(parents=True)
    secret.write_text("secret")
    for name in ("scores.json", "worst/01-a-truth.jpg", "id_rsa", "worst/notes.txt"):
        (report / name).write_text("x")
    (report / "report.html").symlink_to(secret)
    repeat(run, evaluations=[asdict(evaluated({"test/miou": 0.5}, 1, str(report)))])
    assert run.sync() == Parcel(evaluations=1)

    def artifacts(folder: str) -> list[str]:
        return [Path(file.path).name for file in MlflowClient(store).list_artifacts(run.run_id, folder)]

    assert artifacts("eval/best.pth/test") == ["scores.json", "worst"]
    assert artifacts("eval/best.pth/test/worst") == ["01-a-truth.jpg"]
