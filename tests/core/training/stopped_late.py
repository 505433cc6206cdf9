"""A run in two processes whose launcher is told to stop when it is too late, as a script.

    python -m tests.core.training.stopped_late SETTINGS end|error

`end`: the last epoch is over. `error`: the next photograph is damaged. In both, the processes know that they are to
stop, and have no step left at which they could agree on it. The script prints the outcome, and how long it took.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import FaceparseError
from faceparse.core.settings import load_settings
from faceparse.core.training.launch import Job, start
from faceparse.core.training.observer import Bystander
from faceparse.core.training.signals import StopSignals


class Late(Bystander):
    """Stops the launcher from the first process, and waits until the launcher has passed the signal on."""

    def __init__(self, when: str, root: Path, began: Path) -> None:
        self.when, self.root, self.began = when, root, began

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        if self.when == "error":
            for sample in DatasetFolder(self.root).samples("train"):
                sample.image.write_bytes(b"no picture")
            self.stop()

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        if self.when == "end":
            self.stop()

    def stop(self) -> None:
        self.began.write_text(str(time.monotonic()))
        os.kill(os.getppid(), signal.SIGTERM)
        while StopSignals.newest is None:
            time.sleep(0.01)


@contextmanager
def display(when: str, root: Path, began: Path) -> Iterator[Late]:
    """The observer of the job."""
    yield Late(when, root, began)


if __name__ == "__main__":
    settings, began = load_settings(Path(sys.argv[1])), Path(sys.argv[1]).with_name("began")
    try:
        result = start(Job(settings, partial(display, sys.argv[2], settings.data.root, began)))
        print(f"best.pth is of epoch {result.best_epoch}")
    except FaceparseError as error:
        print(f"{type(error).__name__}: {error}")
    print(f"{time.monotonic() - float(began.read_text()):.1f} seconds after the signal")
