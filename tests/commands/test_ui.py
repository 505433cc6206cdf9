import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from faceparse.core.training.run import RunResult
from faceparse.core.web import server


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Nothing is started; what would have been is kept."""
    kept: list[list[str]] = []

    def keep(command: list[str]) -> int:
        kept.append(command)
        return 3

    monkeypatch.setattr(subprocess, "call", keep)
    return kept


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any port, whatever else runs on this machine."""
    monkeypatch.setattr(server, "listen", lambda _: socket.socket())


def options(command: list[str]) -> dict[str, str]:
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    return dict(zip(command[4::2], command[5::2], strict=True))


def test_the_store_is_the_one_that_training_uses(
    cli: Any, called: list[list[str]], free: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    done = cli("ui")
    assert done.code == 3  # the server's own
    here = f"sqlite:///{tmp_path}/mlflow.db"
    assert options(called[0]) == {"--backend-store-uri": here, "--host": "127.0.0.1", "--port": "5000"}
    assert done.out == f"runs of {here} at http://127.0.0.1:5000 (Ctrl-C ends it)\n"


def test_store_and_port_can_be_others(
    cli: Any, called: list[list[str]], free: None, trained: RunResult, store: str
) -> None:
    """And each experiment has a link that opens on its runs."""
    done = cli("ui", "--uri", store, "--port", "5001")
    assert options(called[0])["--backend-store-uri"] == store
    assert options(called[0])["--port"] == "5001"
    number = MlflowClient(store).get_experiment_by_name("faceparse").experiment_id
    link = f"http://127.0.0.1:5001/#/experiments/{number}/runs?workflowType=machine_learning"
    assert f"  faceparse: {link}\n" in done.out
    assert "  Default: " not in done.out


def test_a_server_has_a_ui_of_its_own(cli: Any, called: list[list[str]]) -> None:
    done = cli("ui", "--uri", "http://elsewhere:80")
    assert (done.code, done.out) == (0, "the runs are on a server: open http://elsewhere:80 in a browser\n")
    assert called == []


def test_a_port_that_cannot_be_had_is_one_line(cli: Any, called: list[list[str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cli("ui", "--port", port)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: port {port} is in use; choose another one with --port")
    assert cli("ui", "--port", 70000).err.startswith("error: Invalid value for '--port': ")
    assert called == []
