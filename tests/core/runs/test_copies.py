"""A copied run directory gets an MLflow run of its own; a moved one keeps its run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from faceparse.core.errors import TrackingError
from faceparse.core.runs.copies import original_of
from faceparse.core.runs.tracking_record import Parcel, read_tracking
from tests.core.runs.conftest import Run, datasets, history, models, once, until


@pytest.fixture
def run(make: Callable[..., Run]) -> Run:
    """A run of two epochs that was stopped, all of it in MLflow."""
    run = make().start()
    run.record(1)
    run.save_best(1)
    run.record(2)
    run.tracker.finish("KILLED")
    assert not run.outstanding
    return run


def copied(run: Run, make: Callable[..., Run]) -> Run:
    shutil.copytree(run.directory.path, run.directory.path.with_name("copy"))
    return make(folder="copy")


def test_a_copy_and_its_original_go_on_as_two_runs(run: Run, make: Callable[..., Run], store: str) -> None:
    copy = copied(run, make)
    copy.start()
    copy.record(3)
    copy.tracker.finish("FINISHED")
    assert copy.warnings == [
        f"{copy.directory.path}: a copy of {run.directory.path}, which keeps its MLflow run; "
        "this run gets one of its own"
    ]
    run.start()
    run.record(3, 4)
    run.tracker.finish("FINISHED")
    assert run.warnings == []
    assert copy.run_id != run.run_id
    assert [history(store, one.run_id) for one in (run, copy)] == [once(1, 2, 3, 4), once(1, 2, 3)]
    found = MlflowClient(store).get_run(copy.run_id)
    assert (found.info.run_name, found.info.status) == ("copy", "FINISHED")
    assert found.data.params == {"optim.lr": "0.1"}
    assert found.data.tags["best_epoch"] == "1"
    assert datasets(store, copy.run_id) == datasets(store, run.run_id) != []
    assert [len(models(store, one.run_id)) for one in (run, copy)] == [1, 1]
    client = MlflowClient(store)
    assert [file.path for file in client.list_artifacts(copy.run_id, "checkpoints")] == ["checkpoints/best.pth"]
    copy.start()  # told once
    copy.tracker.finish("FINISHED")
    assert len(copy.warnings) == 1


def test_a_directory_that_was_moved_keeps_its_run(run: Run, make: Callable[..., Run], store: str) -> None:
    before, moved = run.run_id, run.directory.path.with_name("moved")
    run.directory.close()
    run.directory.path.rename(moved)
    again = make(folder="moved").start()
    again.record(3)
    again.tracker.finish("FINISHED")
    assert (again.run_id, again.warnings) == (before, [])
    assert history(store, before) == once(1, 2, 3)
    assert again.tracking.folder == str(moved)


def test_another_run_where_the_directory_was_is_no_original(run: Run, make: Callable[..., Run]) -> None:
    place, moved = run.directory.path, run.directory.path.with_name("moved")
    run.directory.close()
    place.rename(moved)
    make().start().tracker.finish("FINISHED")
    tracking = read_tracking(moved)
    assert tracking is not None
    assert original_of(moved, tracking) is None


def test_a_link_to_the_directory_is_no_copy(run: Run) -> None:
    link = run.directory.path.with_name("link")
    link.symlink_to(run.directory.path)
    assert original_of(link, run.tracking) is None


@pytest.mark.parametrize("folder", [None, "", "no/such/folder", "a\0b", "x" * 5000])
def test_a_ledger_that_names_no_folder_is_no_copy(run: Run, make: Callable[..., Run], folder: str | None) -> None:
    """As those of earlier versions."""
    copy = copied(run, make)
    path = copy.directory.path / "tracking.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"folder": folder}))
    assert original_of(copy.directory.path, copy.tracking) is None


def test_a_copy_delivers_nothing_to_the_run_of_its_original(
    run: Run, make: Callable[..., Run], store: str, tmp_path: Path
) -> None:
    copy = copied(run, make)
    assert copy.sync() == Parcel()  # nothing to deliver
    run.start()
    until(lambda: MlflowClient(store).get_run(run.run_id).info.status == "RUNNING")
    shutil.copy(run.directory.path / "tracking.json", copy.directory.path)  # copied while it trains
    with pytest.raises(TrackingError) as caught:
        copy.sync()
    original = tmp_path / "run"
    assert str(caught.value) == (
        f"{copy.directory.path}: a copy of {original}, whose MLflow run it has no part in; "
        f"deliver that: faceparse sync {original}"
    )
    assert MlflowClient(store).get_run(run.run_id).info.status == "RUNNING"
    run.tracker.finish("FINISHED")
