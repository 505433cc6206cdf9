"""Timing two things against each other on a noisy machine."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATASET, BACKGROUNDS = Path("dataset/CelebAMask-HQ"), Path("dataset/backgrounds/report")
"""Prepared photographs, and pictures without faces; what needs them is left out where they are not here."""
YUNET = Path(os.environ.get("YUNET", "../shared/data/yunet/face_detection_yunet_2023mar.onnx"))
"""The detector that finding faces is compared with, where it is here."""


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    what: str
    ours: float
    peer: float
    ratio: float
    goal: float
    direction: Literal["at least", "at most"]
    unit: Literal["s", "MiB", "F1", ""] = "s"
    """Of `ours` and `peer`."""

    @property
    def reached(self) -> bool:
        return self.ratio >= self.goal if self.direction == "at least" else self.ratio <= self.goal


def medians(*functions: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each function, called in turn so that a busy moment hits all of them alike."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            started = time.perf_counter()
            function()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def are_here(what: str, *needed: Path) -> bool:
    """Whether all that is needed is here; says what is left out where it is not."""
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        print(f"not measured: {what}; {' and '.join(missing)} are not here", file=sys.stderr)
    return not missing


@contextmanager
def one_thread() -> Iterator[None]:
    """What a loader process has: PyTorch and OpenCV share out no work."""
    import cv2
    import torch

    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def peak_memory() -> int:
    """KiB that this process held at most. getrusage's peak starts from that of the process which started this one."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def overhead(what: str, ours: float, floor: float, goal: float) -> Result:
    """How much longer than its floor something takes; at most `goal` times."""
    return Result(what, ours, floor, ours / floor, goal, "at most")


def speedup(what: str, ours: float, peer: float, goal: float) -> Result:
    """How much faster than a peer something is; at least `goal` times."""
    return Result(what, ours, peer, peer / ours, goal, "at least")


def make_faces(root: Path, count: int, size: int) -> None:
    """A small dataset of drawn faces with edges."""
    from faceparse.core.datasets.edges import update_edges
    from faceparse.core.datasets.prepare import prepare
    from faceparse.core.datasets.synthetic import Synthetic

    prepare(Synthetic(count=count, size=size), root, processes=2)
    update_edges(root, processes=2)
