"""Compare `prepare` with decoding, warping and encoding alone, and its memory at ten times the photographs."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import Result, medians
from faceparse.core.datasets.celebamask_hq import CelebAMaskHQ
from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.source import Item, Source
from faceparse.core.faces.alignment import Alignment, alignment_matrix, make_alignment
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.read_label import read_label, read_mask
from faceparse.core.images.read_photograph import read_image
from tests.raw import make_celebamask_hq, make_lapa

PHOTOGRAPHS = 30
ALIGNMENT = make_alignment("landmarks", size=473, template="farl", on_missing="fail")
MEMORY = """
import sys, threading
from pathlib import Path
import psutil
from benchmarks.harness import peak_memory
from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.prepare import prepare
from benchmarks.prepare import ALIGNMENT
ended, largest = threading.Event(), [0]
def watch():
    while not ended.wait(0.02):
        for child in psutil.Process().children(recursive=True):
            try:
                largest.append(child.memory_info().rss // 1024)
            except psutil.Error:  # it has just ended
                pass
        largest[:] = [max(largest)]
watcher = threading.Thread(target=watch)
watcher.start()
prepare(Lapa(Path(sys.argv[1])), Path(sys.argv[2]), alignment=ALIGNMENT, processes=2)
ended.set()
watcher.join()
print(peak_memory() + largest[0])
"""


def run() -> list[Result]:
    """Measure rates and memory."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    # Use a folder in memory if possible, because the speed of the disk does not count here.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        make_lapa(root / "lapa", (PHOTOGRAPHS, 1, 1), (640, 560))
        make_celebamask_hq(root / "celeba", range(1, PHOTOGRAPHS + 1), 512)
        results = [
            _share("lapa, aligned", Lapa(root / "lapa"), ALIGNMENT, _lapa_alone, root / "out"),
            _share("celebamask-hq", CelebAMaskHQ(root / "celeba"), None, _celeba_alone, root / "out"),
            _memory(root),
        ]
    cv2.setNumThreads(threads)
    return results


def _share(
    name: str, source: Source, alignment: Alignment | None, alone: Callable[[Source, Item], None], out: Path
) -> Result:
    items = source.items()
    fresh = (out / name / str(i) for i in count())

    def ours() -> None:
        prepare(source, next(fresh), alignment=alignment)

    def floor() -> None:
        for item in items:
            alone(source, item)

    taken, least = medians(ours, floor, rounds=9)
    what = f"prepare: {name}, its rate as a share of decoding, warping and encoding alone"
    return Result(what, taken / len(items), least / len(items), least / taken, 0.8, "at least")


def _lapa_alone(source: Source, item: Item) -> None:
    image, label = read_image(item.files[0]), read_label(item.files[1])
    points = source.points(item)
    assert points is not None
    matrix = alignment_matrix(points, ALIGNMENT, label.shape)
    square = (ALIGNMENT.size, ALIGNMENT.size)
    encode_jpeg(cv2.warpAffine(image, matrix, square, flags=cv2.INTER_LINEAR))
    encode_png(cv2.warpAffine(label, matrix, square, flags=cv2.INTER_NEAREST))
    encode_png(label)


def _celeba_alone(_source: Source, item: Item) -> None:
    image = read_image(item.files[0])
    label = np.zeros((512, 512), np.uint8)
    for part, file in enumerate(item.files[1:], 1):
        label[read_mask(file)] = part
    encode_jpeg(cv2.resize(image, (512, 512), interpolation=cv2.INTER_AREA))
    encode_png(label)


def _memory(root: Path) -> Result:
    """Peak resident memory of a whole run at 200 and at 2000 photographs: parent plus largest worker."""
    peaks = []
    for photographs in (200, 2000):
        raw = root / f"raw{photographs}"
        make_lapa(raw, (1, 1, 1), (160, 140))
        for name in ("images", "labels", "landmarks"):
            (one,) = (raw / "train" / name).iterdir()
            for i in range(photographs - 3):
                shutil.copy(one, one.with_stem(f"copy{i}"))
        command = [sys.executable, "-c", MEMORY, str(raw), str(root / f"out{photographs}")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout))
    small, large = peaks
    what = "prepare: peak memory at 2000 photographs, against 200"
    return Result(what, large / 1024, small / 1024, large / small, 1.1, "at most", "MiB")
