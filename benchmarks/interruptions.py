"""Measure what a checkpoint, a signal and a killed process cost a real run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from benchmarks.harness import Result, make_faces, medians, overhead
from benchmarks.step import make_batch, make_trainer
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.runs.directory import LAST
from faceparse.core.settings import ModelSettings, Settings
from faceparse.core.training.run_checkpoints import save_last

ROUNDS = 3


def run() -> list[Result]:
    """Measure a checkpoint, SIGTERM with one and two processes, and a killed process."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        make_faces(root / "faces", 40, 96)
        results = [_checkpoint(root)]
        for processes in (1, 2):
            results.append(_sigterm(root, processes))
        return [*results, _killed(root)]


def _checkpoint(root: Path) -> Result:
    """Time that training waits for a checkpoint of ResNet-101 and its momentum."""
    model = build_model(ModelSettings(backbone="resnet101", norm="torch"), 11)
    trainer = make_trainer(model, torch.device("cpu"))
    trainer.step([make_batch()])
    folder, plain = root / "checkpoint", root / "plain"
    folder.mkdir()

    def ours() -> None:
        content = pack(
            model, settings=Settings(), label_set=get_label_set("helen"), epoch=1, scores={}, run_id=None,
            tracking_uri=None, training={"trainer": trainer.state_dict()},
        )  # fmt: skip
        save_last(folder, content)

    ours()
    size = (folder / LAST).stat().st_size
    content = os.urandom(size)

    def floor() -> None:
        with plain.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    stall, written = medians(ours, floor, rounds=5)
    what = f"checkpoint of ResNet-101, {size / 2**20:.0f} MiB, against writing as many bytes to disk"
    return overhead(what, stall, written, 2)


def _sigterm(root: Path, processes: int) -> Result:
    """Time from SIGTERM to the exit, with two loader processes. The floor is the current step and its checkpoint."""
    taken, floors = [], []
    for number in range(ROUNDS):
        with _training(root, f"sigterm-{processes}-{number}", processes) as (process, last):
            saved = _await_save(process, last)
            floors.append(_await_save(process, last) - saved)  # a step and a checkpoint
            started = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
            taken.append(time.perf_counter() - started)
            assert process.returncode == 143
    what = f"SIGTERM to exit, {processes} process{'es' * (processes > 1)}, against a step and its checkpoint"
    return overhead(what, median(taken), median(floors), 10)


def _killed(root: Path) -> Result:
    """Time from a kill of one of two processes to the next saved step. The floor is a start to the first saved step."""
    taken, floors = [], []
    for number in range(ROUNDS):
        started = time.perf_counter()
        with _training(root, f"killed-{number}", 2) as (process, last):
            floors.append(_await_save(process, last) - started)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("utf-8").split()
            worker = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()][-1]
            started = time.perf_counter()
            os.kill(int(worker), signal.SIGKILL)
            taken.append(_await_save(process, last) - started)
    what = "killed process to the next step, against the start of the run to its first"
    return overhead(what, median(taken), median(floors), 1.5)


@contextmanager
def _training(root: Path, name: str, processes: int) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    command = [
        sys.executable, "-m", "faceparse.cli", "train", "--data-dir", root / "faces", "--snapshot-dir", root / name,
        "--epochs", 1000, "--batch-size", 2, "--input-size", "64,64", "--device", "cpu", "--processes", processes,
        "--set", "model.backbone=resnet18", "--set", "model.stem=torchvision", "--set", "data.workers=2",
        "--set", "tracking.enabled=false", "--set", "tracking.overlays=0", "--set", "train.checkpoint_every=1",
        "--set", "train.evaluate_every=1000",
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(list(map(str, command)), stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield process, root / name / LAST
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_save(process: "subprocess.Popen[bytes]", last: Path) -> float:
    """Wait for the next checkpoint and return its time."""
    before = last.stat().st_mtime_ns if last.exists() else 0
    while process.poll() is None:
        if last.exists() and last.stat().st_mtime_ns != before:
            return time.perf_counter()
        time.sleep(0.005)
    raise RuntimeError("the run ended")
