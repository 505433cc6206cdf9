"""Compare edge maps with the published per-pixel loop, and the command with reading and writing alone."""

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.harness import Result, medians, overhead, speedup
from faceparse.core.datasets.edges import label_edges
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.machine.parallel import default_processes, map_files

SIZE, LABELS, DISTINCT = 512, 200, 8
FLOOR = """
import sys
from pathlib import Path
from benchmarks.edges import read_and_write_all
read_and_write_all(Path(sys.argv[1]), int(sys.argv[2]))
"""
"""A program of its own: workers do not find functions of a `python -m`."""


def run() -> list[Result]:
    """Measure the rule and the command."""
    return [_rule(), _command()]


def _rule() -> Result:
    label = _label(0)
    assert np.array_equal(label_edges(label), pixel_loop(label))
    (loop,) = medians(lambda: pixel_loop(label), rounds=3)
    (ours,) = medians(lambda: label_edges(label), rounds=50)
    return speedup("edges: one 512 x 512 label, against the per-pixel loop", ours, loop, 1000)


def pixel_loop(label: np.ndarray) -> np.ndarray:
    """Edge map computed pixel by pixel, as in the published script."""
    height, width = label.shape
    edge = np.zeros_like(label)
    for y in range(height):
        for x in range(width):
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                v, u = y + dy, x + dx
                if 0 <= v < height and 0 <= u < width and label[v, u] != label[y, x]:
                    edge[y, x] = 255
    return edge


def _command() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for index in range(DISTINCT):
            write_atomic(root / "ready" / f"{index}.png", encode_png(label_edges(_label(index))))
        for index in range(LABELS):
            write_atomic(root / "labels" / f"{index % DISTINCT}_{index}.png", encode_png(_label(index % DISTINCT)))
        processes = str(default_processes())
        command = [sys.executable, "-m", "faceparse.cli", "edges", folder, "--force", "--processes", processes]
        floor = [sys.executable, "-c", FLOOR, folder, processes]
        ours, alone = medians(lambda: _call(command), lambda: _call(floor), rounds=7)
    return overhead(f"edges: the command on {LABELS} labels, against reading and writing alone", ours, alone, 1.5)


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@cache
def _label(index: int) -> np.ndarray:
    return draw_face(np.random.default_rng(index), SIZE).label


@cache
def _ready_edge(path: Path) -> np.ndarray:
    return read_label(path)


def _read_and_write(path: Path) -> None:
    """Do the least work: read the label and write its edge map, which is already in memory."""
    read_label(path)
    root = path.parents[1]
    edge = _ready_edge(root / "ready" / f"{path.name.split('_')[0]}.png")
    write_atomic(root / "edges" / path.name, encode_png(edge))


def read_and_write_all(root: Path, processes: int) -> None:
    """Read and write all labels."""
    labels = sorted((root / "labels").glob("*.png"))
    for _ in map_files(_read_and_write, labels, processes):
        pass
