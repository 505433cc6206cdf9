"""The command: what it prints, how it refuses, how it ends."""

import json
import shutil
import signal
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faceparse.core.api import load
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.training.run import RunResult
from faceparse.core.web import server
from tests.commands.conftest import Cli


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is served; the page that would have been is asked for once."""
    pages: list[str] = []

    def ask(application: Any, listening: Any) -> None:
        from starlette.testclient import TestClient

        pages.append(TestClient(application, server.url(listening)).get("/").text)

    monkeypatch.setattr(server, "serve", ask)
    return pages


def test_it_serves_until_it_is_told_to_stop(trained: RunResult, faces: Path) -> None:
    """The real thing, in a process of its own."""
    command = [sys.executable, "-m", "faceparse.cli", "web", str(trained.best), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"{trained.best} at http://127.0.0.1:")
        assert line.endswith(" (Ctrl-C ends it)\n")
        address = line.removeprefix(f"{trained.best} at ").partition(" ")[0]
        photo = next((faces / "images").iterdir())
        with httpx2.Client(base_url=address, headers={"Origin": address}, timeout=60) as client:
            assert str(trained.best) in client.get("/").text
            answer = client.post("/parse", content=photo.read_bytes())
            assert answer.json()["areas"] == load(trained.best, device="cpu").predict(photo).areas()
            assert client.post("/parse", content=b"#!/bin/sh").status_code == 415
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=60)
    assert (process.returncode, rest, complaints) == (130, "", "interrupted\n")


def test_whatever_can_be_loaded_is_served(cli: Cli, bundle: Path, answered: list[str]) -> None:
    done = cli("web", bundle, "--port", "0")
    assert done.code == 0
    assert done.out.startswith(f"{bundle} at http://127.0.0.1:")
    assert "<b>64 x 64</b>" in answered[0]


@pytest.mark.parametrize("typed", [[], ["{bundle}"], ["--model", "{bundle}"]], ids=["nothing", "word", "option"])
def test_the_shipped_model_is_served_where_none_is_named(
    cli: Cli, bundle: Path, shipped: Path, answered: list[str], typed: list[str]
) -> None:
    done = cli("web", *(word.format(bundle=bundle) for word in typed), "--port", "0")
    assert done.out.startswith(f"{bundle if typed else DEFAULT} at http://127.0.0.1:")
    assert done.err == ("" if typed else f"{DEFAULT}: its weights are for research only\n")
    assert ("celebamask-hq" in answered[0]) == (not typed)


def test_input_size_and_browser(
    cli: Cli, trained: RunResult, answered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    done = cli("web", trained.best, "--port", "0", "--device", "cpu", "--input-size", "96,80", "--open")
    assert "<b>96 x 80</b>" in answered[0]
    assert "<b>cpu</b>" in answered[0]
    assert opened == [done.out.split(" at ")[1].partition(" ")[0]]


def test_a_taken_port_is_one_line_before_anything_is_loaded(cli: Cli) -> None:
    with server.listen(0) as taken:
        port = taken.getsockname()[1]
        done = cli("web", "missing.pth", "--port", port)
    assert done.message == f"port {port} is in use; choose another one with --port"


def test_the_photographs_of_a_folder_are_labelled(
    cli: Cli, bundle: Path, faces: Path, tmp_path: Path, answered: list[str]
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(faces / "images", folder)
    mapping = tmp_path / "face.toml"
    names = load(bundle, device="cpu").names
    mapping.write_text(f'background = ["{names[0]}"]\nface = {json.dumps(names[1:])}\nglasses = []\n')
    done = cli("web", bundle, "--port", "0", "--label", folder, "--mapping", mapping)
    assert done.code == 0
    assert "nothing becomes glasses" in " ".join(done.err.split())
    assert done.out.startswith(f"{bundle} at http://127.0.0.1:")
    assert '"name": "glasses"' in answered[0]
    assert '"name": "ignored"' in answered[0]
    assert not (folder / "labels").exists()


def test_a_folder_that_cannot_be_labelled_is_one_line_before_anything_is_loaded(cli: Cli, tmp_path: Path) -> None:
    done = cli("web", "missing.pth", "--port", "0", "--label", tmp_path / "none")
    assert done.message == f"{tmp_path / 'none'}: no such folder; name the folder of your photographs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["missing.pth"], "no such checkpoint file"),
        (["missing.pth", "--device", "cpu", "--gpus", "0"], "--gpus and --device: give one of them"),
        (["missing.pth", "--model", "other.pth"], "--model other.pth and missing.pth: name one model"),
        (["missing.pth", "--recursive"], "--recursive searches the folders of --label; add --label FOLDER"),
        (["missing.pth", "--input-size", "big"], "input_size"),
        (["missing.pth", "--port", "70000"], "'--port': Input should be less than or equal to 65535"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, options: list[str], message: str) -> None:
    assert message in cli("web", "--port", "0", *options).message
