"""Kill a command with trials in the middle of one of them."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from faceparse.core.settings import Settings, flatten


def kill_in_second_trial(command: Sequence[str], settings: Settings, folder: Path) -> None:
    """Start a command that writes to `folder`, and kill it once its second trial has a checkpoint."""
    options = [part for key, value in flatten(settings).items() for part in ("--set", f"{key}={_typed(value)}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "faceparse.cli", *command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    checkpoint = folder / "trial-002" / "last.pth"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert checkpoint.exists(), errors.decode()


def _typed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
