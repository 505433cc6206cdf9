"""`faceparse --help` against a process that only imports typer."""

import subprocess
import sys

from benchmarks.harness import Result, medians, overhead


def run() -> list[Result]:
    ours, floor = medians(lambda: _run("-m", "faceparse.cli", "--help"), lambda: _run("-c", "import typer"), rounds=15)
    return [overhead("startup: faceparse --help, against importing typer", ours, floor, 2)]


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
