"""Prove and measure what is promised of GPUs, within eight minutes: one JSON file and one table in Markdown.

    python -m benchmarks gpu

Each check runs in a process of its own, with a time limit of its own: neither an error of the GPU nor a check that
hangs ends the others. `--device cpu --size 65` tries the checks' own code where there is no GPU.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from faceparse.core.files.writing import write_atomic

ROOT = Path(__file__).parents[1]
LIMIT = 480.0
"""Seconds that all checks together may take."""


@dataclass(frozen=True)
class Check:
    """One check, its time limit and the promise that it is about."""

    name: str
    seconds: float
    promise: str


CHECKS = (
    Check("machine", 25, "what this machine is"),
    Check("torch norm", 25, "the plain norm layer computes what it states"),
    Check("inplace norm", 45, "inplace_abn computes the same as the plain layer"),
    Check("syncs", 40, "no step of training waits for the GPU"),
    Check("labels", 30, "a GPU gives the same labels as the CPU"),
    Check("processes", 90, "two processes on one GPU train what one process trains"),
    Check("loader", 60, "loading keeps ahead of the step"),
    Check("export", 50, "ONNX Runtime on CUDA answers as PyTorch"),
    Check("metrics", 25, "a run records the GPU's load"),
    Check("nccl", 90, "two GPUs train what one trains"),
    Check("largest", 75, "full memory is an error of one line; speed at the largest batch"),
    Check("speed", 75, "bf16 and fp16 with channels last are faster, at nearly the same loss"),
    Check("compile", 200, "torch.compile is faster, at nearly the same loss"),
)
"""All checks. Together they may take longer than `LIMIT`: those of most weight come first, and most take less."""


@dataclass(frozen=True)
class Line:
    """Result of one check, as the files have it."""

    check: str
    promise: str
    state: Literal["ok", "failed", "skipped"]
    why: str = ""
    seconds: float = 0.0
    figures: Mapping[str, float | str] = field(default_factory=dict)


def main(typed: list[str]) -> int:
    """Run the checks and write their results. Return 0, 1 where one failed, or 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description="Check what is promised of GPUs.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the checks' own code")
    parser.add_argument("--size", type=int, default=473, help="side of the crop")
    parser.add_argument("--output", type=Path, default=Path("gpu-check"), help="folder of the results")
    parser.add_argument("--check", action="append", choices=[check.name for check in CHECKS], help="only this one")
    options = parser.parse_args(typed)
    if options.device != "cpu" and not _has_gpu():
        print("gpu-check needs a GPU that PyTorch can use; see 'faceparse doctor'", file=sys.stderr)
        return 2
    wanted = [check for check in CHECKS if options.check is None or check.name in options.check]
    lines = run_checks(wanted, lambda check, seconds: make(check, seconds, options.device, options.size), LIMIT)
    about = {"device": options.device, "size": options.size, "checks": [vars(line) for line in lines]}
    write_atomic(options.output / "gpu-check.json", (json.dumps(about, indent=2) + "\n").encode())
    write_atomic(options.output / "gpu-check.md", markdown(lines).encode())
    _show(lines, options.output)
    return 1 if any(line.state == "failed" for line in lines) else 0


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run_checks(checks: list[Check], make: Callable[[Check, float], Line], limit: float) -> list[Line]:
    """Make the checks in turn, each within its own limit and what is left of the common one."""
    end, lines = time.monotonic() + limit, []
    for check in checks:
        left = end - time.monotonic()
        if left < 10:
            lines.append(Line(check.name, check.promise, "skipped", f"the {limit:.0f} s for all checks are over"))
            continue
        lines.append(make(check, min(check.seconds, left)))
    return lines


def make(check: Check, seconds: float, device: str, size: int) -> Line:
    """Make one check in a process of its own, and end all of its processes after `seconds`."""
    print(f"{check.name} (at most {seconds:.0f} s) ...", file=sys.stderr)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-m", "benchmarks.gpu_checks", check.name, "--device", device]
        command += ["--size", str(size), "--folder", folder, "--seconds", str(seconds)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Line(check.name, check.promise, "failed", f"not done after {seconds:.0f} s", seconds)
    return _read(check, out, err, time.monotonic() - started)


def _read(check: Check, out: str, err: str, seconds: float) -> Line:
    """Read the outcome, which is the last line of the output; without one, the last words say why."""
    try:
        said: dict[str, Any] = json.loads(out.splitlines()[-1])
        return Line(check.name, check.promise, said["state"], said["why"], seconds, said["figures"])
    except (IndexError, ValueError, KeyError, TypeError):
        last = (err.strip().splitlines() or ["it said nothing"])[-1][:300]
        return Line(check.name, check.promise, "failed", f"its process ended: {last}", seconds)


def markdown(lines: list[Line]) -> str:
    """Return the results as a table in Markdown."""
    rows = ["| check | promise | result | s | figures |", "|---|---|---|---|---|"]
    for line in lines:
        figures = "; ".join(f"{name} {_shown(value)}" for name, value in line.figures.items())
        cells = (line.check, line.promise, _result(line), f"{line.seconds:.0f}", figures)
        rows.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _result(line: Line) -> str:
    return line.state + (f": {line.why}" if line.why else "")


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _show(lines: list[Line], output: Path) -> None:
    table = Table("check", "promise", "result", "s")
    for line in lines:
        table.add_row(
            line.check, line.promise, line.state + (f": {line.why}" if line.why else ""), f"{line.seconds:.0f}"
        )
    Console(width=160).print(table)
    print(f"written: {output / 'gpu-check.json'}, {output / 'gpu-check.md'}", file=sys.stderr)
