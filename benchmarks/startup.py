"""Compare `faceparse --help` with importing typer, and a first photograph in Python with importing torch."""

import subprocess
import sys

from benchmarks.harness import Result, medians, overhead

FIRST = "import faceparse; faceparse.load().predict('docs/portraits/eileen-collins.jpg')"


def run() -> list[Result]:
    """Measure both starts."""
    ours, floor = medians(lambda: _run("-m", "faceparse.cli", "--help"), lambda: _run("-c", "import typer"), rounds=15)
    first, torch = medians(lambda: _run("-c", FIRST), lambda: _run("-c", "import torch"), rounds=5)
    return [
        overhead("startup: faceparse --help, against importing typer", ours, floor, 2),
        overhead(
            "startup: load() and the portrait's labels in a new process, against importing torch", first, torch, 3
        ),
    ]


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
