"""Kill commands and start them again: what remains, what is lost, and which processes live on."""

import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.attack import Count, checksums, hidden
from benchmarks.attacks import Seeds
from tests.raw import make_lapa

QUICK = shlex.split(
    "--device cpu --batch-size 4 --input-size 64,64 --set model.backbone=mobilenet_v2 --set tracking.enabled=false "
    "--set tracking.overlays=0"
)
"""Options of a training that takes seconds."""


@dataclass(frozen=True)
class Kill:
    """A command that goes on after a kill when it is started again."""

    name: str
    arguments: tuple[str, ...]
    result: str
    """File or folder that it writes, in its folder."""


def kills(seeds: Seeds) -> list[Kill]:
    """All commands to kill."""
    faces, best = seeds.faces, seeds.run / "best.pth"
    train = ("train", "--data-dir", str(faces), "--epochs", "2", "--set", "train.checkpoint_every=1", *QUICK)
    return [
        _kill("prepare", "prepare lapa raw prepared", "prepared"),
        _kill("prepare --align", "prepare lapa raw prepared --align landmarks --size 96", "prepared"),
        _kill("edges", "edges data", "data"),
        _kill("check --report", f"check {faces} --report report.html", "report.html"),
        Kill("train --resume auto", (*train, "--resume", "auto"), "runs"),
        _kill("eval", f"eval {best} --data-dir {faces} -o report --device cpu", "report"),
        _kill("predict", f"predict --model {best} photos -o out --save labels,overlays,json", "out"),
        _kill("export", f"export {best} --data-dir {faces} -o best.onnx", "best.onnx"),
        _kill("export --bundle", f"export {best} --data-dir {faces} --bundle -o best.bundle", "best.bundle"),
    ]


def _kill(name: str, command: str, result: str) -> Kill:
    return Kill(name, tuple(command.split()), result)


def kill(one: Kill, seeds: Seeds, rounds: int, seed: int = 0) -> tuple[Count, list[str]]:
    """Kill a command `rounds` times, each time at another moment, and start it once more."""
    dice, count, told = random.Random(seed), Count(), []
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        right = _folder(Path(name) / "right", seeds)
        started = time.perf_counter()
        assert _start(one.arguments, right).wait() in (0, 1), one.name
        takes = time.perf_counter() - started
        for number in range(rounds):
            folder = _folder(Path(name) / str(number), seeds)
            moment = takes * dice.uniform(0.3, 1.0)
            process = _start(one.arguments, folder)
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            harm = []
            if _survivors(process.pid):
                count.crashes += 1
                harm.append("processes live on")
            again = _start(one.arguments, folder, "again.txt")
            try:
                code = again.wait(120)
            except subprocess.TimeoutExpired:
                again.kill()
                count.hangs, code = count.hangs + 1, 124
            text = (folder / "again.txt").read_text()
            count.tracebacks += "Traceback (most recent call last)" in text
            if code not in (0, 1) or _names(folder / one.result) != _names(right / one.result):
                count.passed += 1
                harm.append(f"exit {code}: {text[-400:]}")
            if left := hidden(folder):
                count.leftovers += 1
                harm.append(f"left: {[path.name for path in left]}")
            count.tries += 1
            told += [f"{one.name}, killed after {moment:.2f} of {takes:.2f} s: {what}" for what in harm]
            shutil.rmtree(folder)
    return count, told


def _folder(folder: Path, seeds: Seeds) -> Path:
    folder.mkdir()
    make_lapa(folder / "raw", (12, 4, 4))
    shutil.copytree(seeds.faces, folder / "data")
    shutil.rmtree(folder / "data" / "edges")
    shutil.copytree(seeds.faces / "images", folder / "photos")
    return folder


def _start(arguments: Sequence[str], folder: Path, output: str = "output.txt") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "faceparse.cli", *arguments]
    with (folder / output).open("wb") as file:
        return subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True)


def _survivors(session: int, patience: float = 15) -> list[int]:
    """Processes of a session that outlive its leader. Kills them, so that they disturb nothing."""
    until = time.monotonic() + patience
    while True:
        alive = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _session(p) == session]
        if not alive:
            return []
        if time.monotonic() > until:
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            return alive
        time.sleep(0.1)


def _session(process: Path) -> int:
    """Session of a process; 0 where it is gone or a zombie."""
    try:
        state, *rest = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if state == "Z" else int(rest[2])


def _names(result: Path) -> set[str]:
    """Names of the files that a command wrote. RUN stands for a run directory's name, which holds the time."""
    if not result.is_dir():
        return {str(result.is_file())}
    return {re.sub(r"\d{8}-\d{6}-\w{4}", "RUN", path) for path in checksums(result)}
