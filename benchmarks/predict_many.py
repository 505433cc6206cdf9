"""Measure `predict` on thousands of photographs of 320 x 320 with the shipped model: its rate, and its memory.

python -m benchmarks predict_many takes about half an hour on two cores.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Result, one_thread
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.prediction.prediction import plan_prediction

PHOTOGRAPHS, SIDE, BATCH, ROUNDS = 2000, 320, 4, 3
DRAWN = 250
"""Different photographs; the others are links to them."""
COUNTS = (500, 2000, 10_000)
"""Numbers of photographs whose peaks of memory are compared."""
MEMORY = """
import sys
from benchmarks.harness import peak_memory
from faceparse.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(peak_memory(), file=sys.stderr)
"""


def run() -> list[Result]:
    """Measure rates with one thread, then peaks of memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _photographs(root / "photographs", PHOTOGRAPHS)
        return [*_rates(root), *_memory(root)]


def _photographs(folder: Path, number: int) -> None:
    """Write a folder of drawn faces."""
    faces = Synthetic(count=DRAWN, size=SIDE)
    for item in faces.items():
        write_atomic(folder / f"{item.id}.jpg", encode_jpeg(faces.load(item).image))
    drawn = sorted(folder.iterdir())
    for i in range(len(drawn), number):
        os.link(drawn[i % len(drawn)], folder / f"copy{i:05}.jpg")


def _rates(root: Path) -> list[Result]:
    model = load_model_from()
    fresh = (root / f"out{i}" for i in count())
    with one_thread():
        parser = load_parser(model, torch.device("cpu"))
        paths = sorted((root / "photographs").iterdir())
        assert parser.input_size == (SIDE, SIDE), parser.input_size

        def parse(faces: str = "none", to: str = "files", save: str = "labels") -> None:
            plan = plan_prediction(
                [str(root / "photographs")],
                next(fresh),
                label_set=model.label_set,
                model="",
                save=save,
                to=to,
                faces=faces,
            )
            assert plan.run(parser, batch_size=BATCH).photographs == PHOTOGRAPHS

        def floor() -> None:
            """Decode, run the network on batches, take the classes, encode them."""
            for start in range(0, PHOTOGRAPHS, BATCH):
                images = [read_image(path) for path in paths[start : start + BATCH]]
                for classes in parser.parse_crops(torch.from_numpy(np.stack(images))):
                    encode_png(classes)

        ways: list[Callable[[], None]] = [
            floor,
            parse,
            lambda: parse(to="parquet"),
            lambda: parse(save="labels,json"),
            lambda: parse(faces="auto"),
        ]
        bare, files, parquet, both, auto = _each(ways)
    return [
        Result(
            "predict of 2,000, --faces none: its rate against its bare work", files, bare, bare / files, 0.9, "at least"
        ),
        Result(
            "predict of 2,000 --to parquet: its time against labels,json", parquet, both, parquet / both, 1.0, "at most"
        ),
        Result("predict of 2,000, --faces auto: its time against none", auto, files, auto / files, 4.0, "at most"),
    ]


def _each(ways: list[Callable[[], None]]) -> list[float]:
    """Median seconds of a photograph in each way, of rounds in turn."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, taken in zip(ways, times, strict=True):
            started = time.perf_counter()
            way()
            taken.append((time.perf_counter() - started) / PHOTOGRAPHS)
    return [statistics.median(taken) for taken in times]


def _memory(root: Path) -> list[Result]:
    """Peaks of the whole command with a small crop, so that what a photograph costs is not hidden by the network."""
    results = []
    for to in ("files", "parquet"):
        peaks = []
        for number in COUNTS:
            photographs = root / f"of{number}"
            if not photographs.exists():
                _photographs(photographs, number)
            typed = ["predict", str(photographs), "-o", str(root / f"{to}{number}"), "--to", to, "--save", "labels"]
            options = ["--faces", "none", "--input-size", "64,64", "--device", "cpu"]
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, *typed, *options],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            peaks.append(int(done.stderr.split()[-1]) / 1024)
        for number, peak in zip(COUNTS[1:], peaks[1:], strict=True):
            what = f"predict --to {to}: peak memory at {number} photographs against {COUNTS[0]}"
            results.append(Result(what, peak, peaks[0], peak / peaks[0], 1.1, "at most", "MiB"))
    return results
