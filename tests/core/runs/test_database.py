import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service import utils

from faceparse.core.errors import SettingsError
from faceparse.core.runs.database import beside, copied_uri, database_file, follow_move, present_uri
from faceparse.core.runs.mlflow_store import check_experiment, log_evaluation, log_folder
from faceparse.core.runs.rank_runs import find_run
from faceparse.core.runs.registry import Registration, download
from faceparse.core.runs.tracking_record import read_tracking
from faceparse.core.settings import TrackingSettings
from tests.core.runs.conftest import Run, evaluated

BEGIN = """
from faceparse.core.settings import TrackingSettings
from faceparse.core.runs.mlflow_store import check_experiment
check_experiment(TrackingSettings(experiment="faces"), warn=print)
print("ok")
"""
"""What a training does first."""


@pytest.mark.parametrize("name", ["what?", "a%41b", "%3f"])
def test_a_path_that_mlflow_reads_as_another_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsError) as caught:
        check_experiment(TrackingSettings(uri=f"sqlite:///{tmp_path}/{name}/mlflow.db"), warn=pytest.fail)
    assert str(caught.value).startswith(
        f"MLflow store sqlite:///{tmp_path}/{name}/mlflow.db: a database's path cannot "
    )
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_paths_are_taken_as_they_are(database: Path, tmp_path: Path) -> None:
    path = tmp_path / "100% my #1 & bröte" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(database, path)
    check_experiment(TrackingSettings(uri=f"sqlite:///{path}", experiment="faces"), warn=pytest.fail)
    assert [one.name for one in path.parent.iterdir()] == ["mlflow.db"]
    run = Run(f"sqlite:///{path}", path.parent / "run").start()
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    files = path.parent / "mlartifacts" / "tests" / run.run_id / "artifacts"
    assert (files / "file.txt").read_text() == "content"
    assert [one.name for one in tmp_path.iterdir()] == [path.parent.name]


def test_a_copied_run_finds_no_database_where_the_original_one_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "copy" / "run"
    folder.mkdir(parents=True)
    (tmp_path / "copy" / "mlflow.db").touch()
    assert copied_uri(f"sqlite:///{tmp_path}/gone/mlflow.db", folder, "0" * 32) is None


# Made once


def begin(folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("MLFLOW_TRACKING_URI")
    command = [sys.executable, "-c", BEGIN]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_runs_that_begin_together_make_one_database(tmp_path: Path) -> None:
    """And one that is killed meanwhile leaves nothing that stands in their way."""
    killed = begin(tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / ".mlflow.db.new").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    for process in [begin(tmp_path) for _ in range(2)]:
        out, errors = process.communicate(timeout=300)
        assert out == "ok\n", errors
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    experiments = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()
    assert sorted(one.name for one in experiments) == ["Default", "faces"]


# Moved


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without runs; for copies."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}")
    return path


@pytest.fixture
def before(database: Path, tmp_path: Path) -> Path:
    """A working folder with a database, a run's directory and its files."""
    folder = tmp_path / f"be fore{secrets.token_hex(2)}_%"  # MLflow keeps what it opened, by its path
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")
    run = Run(f"sqlite:///{folder}/mlflow.db", folder / "runs" / "one").start()
    run.record(1)
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    assert run.warnings == []
    run.directory.close()
    utils._artifact_repos_cache.clear()  # another process has none
    return folder


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_folder_that_was_moved_or_copied_is_gone_on_with(
    before: Path, tmp_path: Path, move: Callable[[Path, Path], object]
) -> None:
    after = tmp_path / f"after{secrets.token_hex(2)}"
    untouched = sorted(before.rglob("*"))
    move(before, after)
    warnings: list[str] = []
    uri = f"sqlite:///{after}/mlflow.db"
    check_experiment(TrackingSettings(uri=uri, experiment="tests"), warn=warnings.append)
    assert warnings == [
        f"MLflow's database and files were moved from {before} to {after}; the database now names the new place"
    ]
    check_experiment(TrackingSettings(uri=uri, experiment="tests"), warn=pytest.fail)  # told once
    run = Run(uri, after / "runs" / "two").start()
    run.write("file.txt", "content")
    run.tracker.finish("FINISHED")
    assert (run.warnings, bool(run.outstanding)) == ([], False)
    assert (after / "mlartifacts" / "tests" / run.run_id / "artifacts" / "file.txt").is_file()
    client = MlflowClient(uri)
    for one in client.search_runs([client.get_experiment_by_name("tests").experiment_id]):
        assert [file.path for file in client.list_artifacts(one.info.run_id)] == ["file.txt"]
    assert sorted(before.rglob("*")) == (untouched if move is shutil.copytree else [])
    assert before.exists() == (move is shutil.copytree)


def test_a_run_of_a_copied_folder_goes_on_in_the_copied_database(before: Path, tmp_path: Path) -> None:
    after = tmp_path / "after"
    shutil.copytree(before, after)
    untouched = {path: path.read_bytes() for path in before.rglob("*") if path.is_file()}
    old = read_tracking(before / "runs" / "one")
    run = Run("", after / "runs" / "one").start()
    run.record(2)
    run.tracker.finish("FINISHED")
    assert old is not None
    assert (run.run_id, run.tracker.uri) == (old.run_id, f"sqlite:///{after}/mlflow.db")
    assert not run.outstanding
    assert {path: path.read_bytes() for path in before.rglob("*") if path.is_file()} == untouched


def test_the_run_of_a_directory_that_was_moved_is_found(before: Path, tmp_path: Path) -> None:
    after = tmp_path / "after"
    old = f"sqlite:///{before}/mlflow.db"
    before.rename(after)
    tracking = read_tracking(after / "runs" / "one")
    assert tracking is not None
    assert tracking.run_id is not None
    assert tracking.uri == f"sqlite:///{after}/mlflow.db"
    assert find_run(str(after / "runs" / "one"), "http://127.0.0.1:9").id == tracking.run_id
    warnings: list[str] = []
    report = tmp_path / "report"
    report.mkdir()
    (report / "page.html").write_text("x")
    assert log_folder(tracking.uri, tracking.run_id, report, "report", warn=warnings.append)
    done = evaluated({"test/miou": 0.5}, 1)
    assert log_evaluation(tracking.uri, tracking.run_id, done, warn=warnings.append) is None
    assert len(warnings) == 1
    assert (after / "mlartifacts" / "tests" / tracking.run_id / "artifacts" / "report" / "page.html").is_file()
    run = Run("", after / "runs" / "one").start()  # goes on
    run.tracker.finish("FINISHED")
    assert (run.warnings, run.tracker.uri) == ([], tracking.uri)
    assert not before.exists()
    # A database that does not know the run is another.
    assert present_uri(old, after / "runs" / "one", "0" * 32) == old


def test_a_registered_model_is_loaded_from_beside_the_database(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(bundle: Path, folder: Path, model: object) -> None:
        shutil.copytree(bundle, folder / "artifacts" / "bundle")

    monkeypatch.setattr("faceparse.core.runs.registry._save", save)
    monkeypatch.setattr(utils, "_tracking_uri", None)  # a server in this process would have set it
    bundle, after = tmp_path / "bundle", tmp_path / "after"
    bundle.mkdir()
    (bundle / "model.onnx").write_text("x")
    tags = {"faceparse": "0", "test/f1/skin (face)": "0.5"}
    registration = Registration(f"sqlite:///{before}/mlflow.db", "face", "latest", None, "tests")
    assert registration.register(bundle, tags=tags, step=0) == "models:/face/1"
    before.rename(after)
    database = after / "mlflow.db"
    database.chmod(0o444)
    content = database.read_bytes()
    _, found = download("models:/face@latest", f"sqlite:///{database}", tmp_path / "copy")
    assert (found / "model.onnx").read_text() == "x"
    assert database.read_bytes() == content  # looking changes nothing
    assert not before.exists()


def test_files_elsewhere_stay_where_they_are(tmp_path: Path) -> None:
    file = tmp_path / "here" / "mlflow.db"
    there = tmp_path / "there" / "mlartifacts" / "faces"
    there.mkdir(parents=True)  # of a database that was moved alone
    assert beside(file, there.as_uri()) == there.as_uri()
    for location in ("s3://bucket/mlartifacts/faces", "mlflow-artifacts:/mlartifacts/1", "file:///elsewhere/faces", ""):
        assert beside(file, location) == location
    gone = tmp_path / "gone" / "mlartifacts" / "faces"
    assert beside(file, gone.as_uri()) == (tmp_path / "here" / "mlartifacts" / "faces").as_uri()


def test_a_database_of_others_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    assert follow_move(path) is None
    assert path.stat().st_size == 0
    assert database_file(f"sqlite:///{path}") == path
