import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

from faceparse.core.runs.sync import Synced
from faceparse.core.runs.tracking_record import Parcel
from faceparse.core.settings import Settings, flatten
from faceparse.core.sweeps import sync_sweep as sweep_sync
from faceparse.core.sweeps.sweep_file import Record, write_record
from faceparse.core.training.run import RunResult, resume, train
from tests.conftest import Server, Silent


@pytest.fixture
def finished(trained: RunResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.run_dir, tmp_path / "finished"))


def held(store: str, run_id: str) -> Counter[tuple[str, int]]:
    """How often MLflow holds each (metric, step)."""
    client = MlflowClient(store)
    names = client.get_run(run_id).data.metrics
    return Counter((name, metric.step) for name in names for metric in client.get_metric_history(run_id, name))


def recorded(run_dir: Path) -> Counter[tuple[str, int]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return Counter((name, line["epoch"]) for line in lines for name in line["metrics"])


def test_nothing_to_do_is_said(cli: Any, finished: Path, trained: RunResult, store: str) -> None:
    done = cli("sync", finished)
    expected = f"{finished}: nothing to deliver; MLflow run {trained.run_id} at {store}\n"
    assert (done.code, done.out, done.err) == (0, expected, "")


def test_a_run_that_was_not_delivered_is_delivered(
    cli: Any, server: Server, tiny: Callable[..., Settings], store: str
) -> None:
    server.stop()
    result = train(tiny(tracking__uri=server.uri), Silent())
    message = cli("sync", result.run_dir).message
    assert message.startswith(f"MLflow at {server.uri}: not delivered: ")
    assert message.endswith("; try again when it is back")
    server.start()
    points = recorded(result.run_dir)
    done = cli("sync", result.run_dir)
    assert done.code == 0, done.err
    run_id = json.loads((result.run_dir / "tracking.json").read_text())["run_id"]
    assert done.out.startswith(f"{result.run_dir}: delivered {len(points)} points, ")
    assert done.out.endswith(f" 6 files, status FINISHED; MLflow run {run_id} at {server.uri}\n")
    assert held(store, run_id) == points
    client = MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert run.data.params["train.epochs"] == "1"
    assert run.data.tags["best_epoch"] == "1"
    files = [
        file.path for folder in (None, "checkpoints", "overlays") for file in client.list_artifacts(run_id, folder)
    ]
    expected = ["checkpoints", "metrics.jsonl", "overlays", "settings.toml", "train.log"]
    expected += ["checkpoints/best.pth", "checkpoints/last.pth", "overlays/epoch_0001.png"]
    assert files == expected
    assert ": nothing to deliver; " in cli("sync", result.run_dir).out


def test_a_sweep_is_a_line_for_itself_and_for_each_trial(
    cli: Any, finished: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Synced(Parcel(points=2), "abc", store)
    monkeypatch.setattr(sweep_sync, "sync_sweep", lambda path: {path: done, path / "trial-001": done})
    line = f"delivered 2 points; MLflow run abc at {store}\n"
    write_record(finished, Record({}, [], "tpe", 0, None))
    assert cli("sync", finished).out == f"{finished}: {line}{finished}/trial-001: {line}"


def test_what_cannot_be_delivered_is_one_line(cli: Any, finished: Path) -> None:
    assert cli("sync", "nowhere").message.startswith("nowhere: not a run directory (no settings.toml in it); ")
    with FileLock(finished / ".lock"):
        assert cli("sync", finished).message.startswith(f"{finished}: another process is writing to this run; ")
    (finished / "tracking.json").unlink()
    assert cli("sync", finished).message.startswith(f"{finished}: not tracked in MLflow (no tracking.json in it); ")


def test_a_killed_run_is_delivered_and_gone_on_with_exactly_once(
    cli: Any, server: Server, tiny: Callable[..., Settings], store: str
) -> None:
    settings = tiny(train__epochs=4, train__evaluate_every=2, tracking__uri=server.uri)
    run_dir = settings.train.run_dir
    assert run_dir is not None
    options = [part for key, value in flatten(settings).items() for part in ("--set", f"{key}={_typed(value)}")]
    process = subprocess.Popen([sys.executable, "-m", "faceparse.cli", "train", *options], stderr=subprocess.PIPE)

    def lines() -> int:
        path = run_dir / "metrics.jsonl"
        return path.read_text().count("\n") if path.exists() else 0

    def until(count: int) -> None:
        deadline = time.monotonic() + 120
        while lines() < count and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)

    until(1)
    server.stop()
    until(3)  # the third epoch is recorded, and has no checkpoint: it will be trained again
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert lines() >= 3, errors.decode()
    server.start()

    done = cli("sync", run_dir)
    assert done.code == 0, done.err
    state = run_dir / "tracking.json"
    run_id = json.loads(state.read_text())["run_id"]
    assert ", status KILLED; " in done.out
    assert MlflowClient(store).get_run(run_id).info.status == "KILLED"
    before = held(store, run_id)
    assert before == recorded(run_dir)
    assert set(before.values()) == {1}

    state.write_text(json.dumps(json.loads(state.read_text()) | {"delivered": 0}))  # killed before it could note it
    resume(run_dir, Silent())
    assert ": nothing to deliver; " in cli("sync", run_dir).out
    after = held(store, run_id)
    assert after == recorded(run_dir)
    assert set(after.values()) == {1}
    assert {step for _, step in after} == {1, 2, 3, 4}
    assert MlflowClient(store).get_run(run_id).info.status == "FINISHED"


def _typed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
