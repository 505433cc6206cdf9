"""Runs whose MLflow is away, or not wanted."""

import zipfile
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from faceparse.core.errors import SettingsError
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.training.run import RunResult, train
from tests.conftest import Server, Tiny
from tests.core.training.recorded import Watcher, recorded


def test_tracking_can_be_switched_off(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    result = train(tiny(tracking__enabled=False), Watcher())
    assert (result.run_id, result.tracking_uri) == (None, None)
    assert read_checkpoint(result.best).run_id is None
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_a_server_that_is_away_costs_two_warnings_and_nothing_else(
    tiny: Tiny, server: Server, reference: RunResult
) -> None:
    server.stop()
    watcher = Watcher()
    result = train(tiny(tracking__uri=server.uri, train__epochs=1), watcher)
    lost, left = watcher.warnings
    assert lost.startswith(f"MLflow at {server.uri} failed, the run goes on and tries again: ")
    points = len(recorded(result.run_dir)[0]["metrics"])
    assert left.startswith(f"MLflow at {server.uri}: not delivered: {points} points, ")
    assert left.endswith(f"; later: faceparse sync {result.run_dir}")
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1]
    assert set(recorded(result.run_dir)[0]["metrics"]) == set(recorded(reference.run_dir)[0]["metrics"])
    assert result.run_id is None
    assert read_checkpoint(result.best).epoch == 1


def test_user_and_password_of_a_server_are_in_no_file_and_no_message(
    tiny: Tiny, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    server.stop()
    watcher = Watcher()
    secret = server.uri.replace("://", "://me:s3cr3t@")
    result = train(tiny(tracking__uri=secret, train__epochs=1), watcher)
    assert result.tracking_uri == server.uri
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cr3t" in contents(path)] == []
    said = "\n".join(watcher.warnings)
    assert "s3cr3t" not in said
    assert said.endswith("(user and password are kept nowhere: set MLFLOW_TRACKING_URI to the whole address)")


def contents(path: Path) -> bytes:
    """All bytes of a file; of an archive its members', which may be compressed."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("uri", ["sqlite:////proc/no/mlflow.db", "nonsense://x"])
def test_a_store_that_can_never_work_is_refused_before_anything_is_written(
    tiny: Tiny, uri: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=f"MLflow store {uri} cannot be opened: "):
        train(tiny(tracking__uri=uri), Watcher())
    assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_refused_before_anything_is_written(tiny: Tiny, store: str, tmp_path: Path) -> None:
    client = MlflowClient(store)
    client.delete_experiment(client.create_experiment("thrown-away"))
    with pytest.raises(SettingsError, match=r"tracking\.experiment = 'thrown-away': deleted in MLflow"):
        train(tiny(tracking__experiment="thrown-away"), Watcher())
    assert list(tmp_path.iterdir()) == []
