"""Time two things against each other on a noisy machine."""

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
"""Prepared photographs, and pictures without faces. Without them, benchmarks that need them are skipped."""
YUNET = Path(os.environ.get("YUNET", "../shared/data/yunet/face_detection_yunet_2023mar.onnx"))
"""Detector to compare our face finder with, where the file exists."""


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
    """Unit of `ours` and `peer`."""

    @property
    def reached(self) -> bool:
        """Whether the ratio reaches its goal."""
        return self.ratio >= self.goal if self.direction == "at least" else self.ratio <= self.goal


def medians(*functions: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each function. They are called in turn, so that a busy moment hits all of them alike.

    For example:

        ours, floor = medians(parse, decode, rounds=7)
    """
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
    """Whether all that is needed exists. Otherwise say what is skipped."""
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        print(f"not measured: {what}; {' and '.join(missing)} are not here", file=sys.stderr)
    return not missing


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch and OpenCV in one thread, as in a loader process."""
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
    """Peak memory of this process in KiB. Not from getrusage, whose peak starts from the parent's."""
    status = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def overhead(what: str, ours: float, floor: float, goal: float) -> Result:
    """Result that says how many times as long as its floor something takes; at most `goal`."""
    return Result(what, ours, floor, ours / floor, goal, "at most")


def speedup(what: str, ours: float, peer: float, goal: float) -> Result:
    """Result that says how many times as fast as a peer something is; at least `goal`."""
    return Result(what, ours, peer, peer / ours, goal, "at least")


def make_faces(root: Path, count: int, size: int) -> None:
    """Write a small dataset of drawn faces with edges."""
    from faceparse.core.datasets.edges import update_edges
    from faceparse.core.datasets.prepare import prepare
    from faceparse.core.datasets.synthetic import Synthetic

    prepare(Synthetic(count=count, size=size), root, processes=2)
    update_edges(root, processes=2)
