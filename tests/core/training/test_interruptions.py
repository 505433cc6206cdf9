"""Real processes that are told to stop, or killed, where nobody chose: nothing is lost, nothing is repeated."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.settings import TrainSettings, load_settings
from faceparse.core.training.signals import StopSignals, exit_code
from tests.core.training.recorded import assert_same, comparable, last

EPOCHS, ITERATIONS = 6, 3
"""Iterations of an epoch."""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interruptions")


@pytest.fixture(scope="module")
def start(faces: Path, folder: Path) -> Start:
    """A training process in `run_dir`; it saves after every iteration."""

    def start(run_dir: str, *options: object, resume: bool = False, **keywords: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "faceparse.cli", "train"]
        fresh = [
            "--data-dir", faces, *(["--snapshot-dir", run_dir] if run_dir else []), "--epochs", EPOCHS,
            "--batch-size", 4, "--input-size", "32,32",
            "--device", "cpu", "--set", "model.backbone=mobilenet_v2",
            "--set", "tracking.enabled=false", "--set", "tracking.overlays=0", "--set", "train.checkpoint_every=1",
            *options,
        ]  # fmt: skip
        arguments = ["--resume", run_dir, *options] if resume else fresh
        return subprocess.Popen(
            [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=ENVIRONMENT, **keywords,
        )  # fmt: skip

    return start


ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("FACEPARSE_")}


@pytest.fixture(scope="module")
def reference(start: Start, folder: Path) -> Path:
    """A run that nobody disturbed. Not to be written to."""
    process = start("reference", "--set", "data.workers=0")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    return folder / "reference"


def iterations(run_dir: Path) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    path = run_dir / "last.pth"
    return int(torch.load(path, weights_only=True)["training"]["trainer"]["iteration"]) if path.exists() else 0


def await_checkpoint(process: "subprocess.Popen[str]", run_dir: Path, after: int = 0) -> None:
    path, seen = run_dir / "last.pth", 0
    while process.poll() is None:
        written = path.stat().st_mtime_ns if path.exists() else 0
        if written != seen and iterations(run_dir) > after:  # reading it takes time from the process
            return
        seen = written
        time.sleep(0.01)


def assert_like(run_dir: Path, reference: Path) -> None:
    """Weights, optimizer, schedule, scores, best: bit for bit; and every epoch recorded once."""
    assert_same(last(run_dir), last(reference))
    assert comparable(run_dir) == comparable(reference)
    found, expected = (read_checkpoint(path / "best.pth") for path in (run_dir, reference))
    assert found.epoch == expected.epoch
    assert_same(dict(found.weights), dict(expected.weights))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_random_points_ends_as_one_that_was_not(
    start: Start, folder: Path, reference: Path, workers: int
) -> None:
    run_dir, dice = folder / f"killed{workers}", random.Random(workers)
    process = start(run_dir.name, "--set", f"data.workers={workers}")
    kills = 0
    while kills < 2:
        await_checkpoint(process, run_dir, after=iterations(run_dir))
        time.sleep(dice.uniform(0, 0.3))  # between two saves, or within one
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if iterations(run_dir) == ITERATIONS * EPOCHS or process.returncode == 0:
            break
        process = start(run_dir.name, resume=True)
    out, err = process.communicate(timeout=300)
    if process.returncode == -signal.SIGKILL:
        process = start(run_dir.name, resume=True)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert kills
    assert_like(run_dir, reference)


PAPER = {
    "model.backbone": "resnet18",
    "model.stem": "torchvision",
    "optim.name": "adamw",
    "optim.schedule": "cosine",
    "optim.clip": 1.0,
    "optim.backbone_lr": 1e-4,
    "train.ema": 0.5,
    "train.patience": 100,
    "data.rare_first": 0.7,
    "data.noise": 0.5,
    "loss.class_weights": "root",
    "loss.dice": 0.5,
    "loss.lovasz": 0.5,
    "speed.precision": "bf16",
}


def test_a_run_of_the_papers_network_killed_within_an_epoch_ends_as_one_that_was_not(
    start: Start, folder: Path
) -> None:
    """With all that has a state of its own: moments, schedule, average, classes counted, samples drawn by share."""
    epochs = 3  # enough for the kill to come before the end, however busy the machine
    changed = {**PAPER, "data.workers": 0}
    options = [part for key, value in changed.items() for part in ("--set", f"{key}={value}")]
    options += ["--epochs", str(epochs), "--set", "train.checkpoint_every=2"]
    process = start("paper", *options)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert "resnet18 (torchvision stem, ActivatedBatchNorm), " in err
    process = start("paper-killed", *options)
    await_checkpoint(process, folder / "paper-killed", after=1)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert iterations(folder / "paper-killed") < epochs * ITERATIONS
    process = start("paper-killed", resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert_like(folder / "paper-killed", folder / "paper")


def test_an_extended_run_killed_at_a_random_point_ends_as_one_that_was_not(
    start: Start, folder: Path, reference: Path
) -> None:
    """As soon as a checkpoint has the new end, it is the run's own."""
    whole, killed = (Path(shutil.copytree(reference, folder / name)) for name in ("longer", "longer-killed"))
    process = start(whole.name, "--epochs", 2 * EPOCHS, resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert iterations(whole) == 2 * EPOCHS * ITERATIONS
    process, dice = start(killed.name, "--epochs", 2 * EPOCHS, resume=True), random.Random(6)
    await_checkpoint(process, killed, after=ITERATIONS * EPOCHS)
    time.sleep(dice.uniform(0, 0.3))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = start(killed.name, resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    assert_like(killed, whole)


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [(signal.SIGTERM, 143, 2), (signal.SIGINT, 130, 0)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_saves_at_the_next_step_and_ends_with_its_code(
    start: Start, folder: Path, reference: Path, number: signal.Signals, code: int, workers: int
) -> None:
    run_dir = folder / number.name
    options = ["--set", f"data.workers={workers}", "--set", "train.checkpoint_every=0"]
    process = start(run_dir.name, *options, start_new_session=True, preexec_fn=heed_ctrl_c)
    while process.poll() is None and not (run_dir / "metrics.jsonl").exists():  # the first epoch's end
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a scheduler does: to the loader processes, too
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, ""), err
    message = err.splitlines()[-1]
    assert message.startswith(f"stopped by {number.name} in epoch ")
    assert message.endswith(f"; saved, go on with: faceparse train --resume {run_dir.name}")
    assert "Traceback" not in err
    assert ITERATIONS <= iterations(run_dir) < ITERATIONS * EPOCHS
    process = start(run_dir.name, resume=True)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert_like(run_dir, reference)


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it


def test_a_disk_that_is_full_costs_a_warning_until_the_end(start: Start, folder: Path, reference: Path) -> None:
    """The first checkpoint fits, the later ones do not."""
    run_dir = folder / "full"
    process = start(run_dir.name, "--set", "train.checkpoint_every=0")
    await_checkpoint(process, run_dir)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, (out, err)
    warnings = [line for line in err.splitlines() if line.startswith("warning: cannot write ")]
    assert any(line.endswith("the checkpoint before is still there, training goes on") for line in warnings)
    assert err.splitlines()[-1].startswith(f"error: cannot write {run_dir.name}/last.pth: ")
    assert [epoch for epoch, _ in comparable(run_dir)] == list(range(1, EPOCHS + 1))
    assert ITERATIONS <= iterations(run_dir) < ITERATIONS * EPOCHS
    process = start(run_dir.name, resume=True)
    assert process.wait(timeout=300) == 0
    assert_like(run_dir, reference)


def test_auto_goes_on_with_an_unfinished_run_of_its_settings(
    start: Start, folder: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--set", "data.workers=0", "--set", "tracking.experiment=auto", "--resume", "auto"]

    def run_dirs() -> list[Path]:
        return sorted((folder / "runs" / "auto").iterdir())

    process = start("", *options)
    while process.poll() is None and not list((folder / "runs").glob("auto/*/last.pth")):
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) == 143
    (run_dir,) = run_dirs()
    assert start("", *options).wait(timeout=300) == 0
    assert run_dirs() == [run_dir]
    assert_like(run_dir, reference)
    settings = load_settings(run_dir / "settings.toml").model_copy(update={"train": TrainSettings()})
    assert RunDirectory.find(settings) is None  # other settings,
    with monkeypatch.context() as patched:
        patched.chdir(folder)
        assert RunDirectory.find(load_settings(run_dir / "settings.toml")) is None  # and a finished run: one is begun


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert exit_code(stop.received) == 130


def test_what_slurm_sends_ends_as_a_termination() -> None:
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGUSR1)
    assert stop.received == signal.SIGUSR1
    assert exit_code(stop.received) == 143


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.received == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before
