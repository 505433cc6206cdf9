"""The commands against a real MLflow server on a PostgreSQL of its own, as teams run it."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from faceparse.core.runs import mlflow_store, tracker
from faceparse.core.settings import Settings
from faceparse.core.training.run import train
from tests.conftest import Silent
from tests.core.runs.conftest import datasets, models, until

PATIENCE = 180.0
"""Seconds: the server takes a few on a free machine, and makes its tables in the first ones."""


def postgresql() -> Path | None:
    """Folder of the newest server's programs; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A cluster in a folder of its own, by a user who may start it: PostgreSQL refuses to run as root."""
    programs = postgresql()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install -y postgresql)")
    pytest.importorskip("psycopg2")
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = None if os.geteuid() else next(name for name in ("postgres", "nobody") if name in names)
    folder = Path(tempfile.mkdtemp(prefix="faceparse-postgresql-"))  # pytest's own folders are closed to that user
    cluster, port = folder / "cluster", free_port()
    if user:
        shutil.chown(folder, user)

    def call(program: str, *arguments: object) -> None:
        identity: dict[str, Any] = (
            {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
        )
        command = [str(programs / program), "-D", str(cluster), *map(str, arguments)]
        output = folder / "output.txt"
        with output.open("a") as file:  # not a pipe: the server would keep it open
            done = subprocess.run(command, stdout=file, stderr=file, cwd=folder, timeout=120, check=False, **identity)
        assert done.returncode == 0, output.read_text()

    try:
        call("initdb", "-U", "faceparse", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-F -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        call("pg_ctl", "start", "-w", "-l", cluster / "log", "-o", options)
        try:
            yield f"postgresql+psycopg2://faceparse@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """`mlflow server`, to be killed and started again at the same address."""

    def __init__(self, database: str, folder: Path) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._log = folder / "log"
        self._command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
        self._command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "_MLFLOW"))}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # more processes, for what is not asked for here
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # with its workers
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(database, tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a server that is slow because the machine has much to do."""
    monkeypatch.setattr(tracker, "END_PATIENCE", 100.0)
    monkeypatch.setattr(mlflow_store, "START_PATIENCE", 100.0)


class Killer(Silent):
    """Kills the server once MLflow has the first epoch."""

    def __init__(self, server: Server, run_dir: Path) -> None:
        super().__init__()
        self.server, self.state = server, run_dir / "tracking.json"

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        if epoch == 1:
            until(lambda: json.loads(self.state.read_text())["delivered"] == 1)
            self.server.kill()


def held(uri: str, run_id: str) -> Counter[tuple[str, int]]:
    """How often MLflow holds each (metric, step) of a run."""
    client = MlflowClient(uri)
    names = client.get_run(run_id).data.metrics
    return Counter((name, metric.step) for name in names for metric in client.get_metric_history(run_id, name))


def once(run_dir: Path) -> Counter[tuple[str, int]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return Counter((name, line["epoch"]) for line in lines for name in line["metrics"])


def test_a_run_its_evaluation_and_its_comparison(
    server: Server, cli: Callable[..., Any], tiny: Callable[..., Settings], tmp_path: Path
) -> None:
    result = train(tiny(tracking__uri=server.uri, tracking__experiment="server"), Silent())
    run_id = str(result.run_id)
    assert held(server.uri, run_id) == once(result.run_dir)
    assert [context for context, *_ in datasets(server.uri, run_id)] == ["train", "val"]
    (model,) = models(server.uri, run_id)
    assert {metric.key.split("/")[0] for metric in model.metrics} == {"val"}

    for _ in range(2):  # the second adds nothing
        done = cli("eval", result.best, "--bootstrap", 0, "--worst", 0)
        assert done.code == 0, done.err
        assert f"logged to MLflow run {run_id}" in done.out
    found = held(server.uri, run_id)
    assert set(found.values()) == {1}
    assert {name for name, _ in found} > {name for name, _ in once(result.run_dir)} | {"test/f1/skin"}
    assert [context for context, *_ in datasets(server.uri, run_id)] == ["test", "train", "val"]
    (model,) = models(server.uri, run_id)
    values = {metric.key: metric.value for metric in model.metrics}
    assert len(values) == len(model.metrics)
    run = MlflowClient(server.uri).get_run(run_id)
    assert values == {name: value for name, value in run.data.metrics.items() if name.startswith(("val/", "test/"))}

    other = train(
        tiny(train__run_dir=tmp_path / "other", train__seed=1, tracking__uri=server.uri, tracking__experiment="server"),
        Silent(),
    )
    (listed, second) = json.loads(cli("runs", "--uri", server.uri, "--by", "test/f1_mean", "--json").out)
    assert (listed["id"], listed["score"], second["id"], second["score"]) == (
        run_id, values["test/f1_mean"], other.run_id, None
    )  # fmt: skip
    compared = json.loads(cli("runs", "compare", result.run_dir, other.run_id[:8], "--uri", server.uri, "--json").out)
    assert compared["settings"] == {"train.seed": ["0", "1"]}
    assert compared["scores"]["test/f1/skin"] == [values["test/f1/skin"], None]
    assert compared["scores"]["val/miou"][0] == values["val/miou"]


def test_a_server_that_dies_in_the_middle_has_the_rest_from_sync(
    server: Server, cli: Callable[..., Any], tiny: Callable[..., Settings], tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    killer = Killer(server, run_dir)
    train(tiny(train__epochs=3, tracking__uri=server.uri), killer)
    assert killer.warnings[-1].endswith(f"; later: faceparse sync {run_dir}")
    message = cli("runs", "--uri", server.uri).message
    assert message.startswith(f"MLflow at {server.uri} cannot be read: Connection refused; start it, or ")
    assert cli("sync", run_dir).code == 2
    server.start()
    done = cli("sync", run_dir)
    assert done.code == 0, done.err
    assert " 1 logged models, " in done.out
    run_id = json.loads((run_dir / "tracking.json").read_text())["run_id"]
    assert held(server.uri, run_id) == once(run_dir)
    assert {step for _, step in once(run_dir)} == {1, 2, 3}
    (model,) = models(server.uri, run_id)
    assert len({metric.key for metric in model.metrics}) == len(model.metrics) > 20
    assert MlflowClient(server.uri).get_run(run_id).info.status == "FINISHED"
    assert ": nothing to deliver; " in cli("sync", run_dir).out
