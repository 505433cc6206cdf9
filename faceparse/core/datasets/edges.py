"""Make the edge maps in `edges/` from `labels/`; up-to-date ones are not made again."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import DatasetError
from faceparse.core.files.writing import make_folder, refuse_links_out, write_atomic
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.machine.parallel import Track, map_files, untracked
from faceparse.core.text.paths import broken_link, files_below

_SKEW = 60 * 10**9
"""Nanoseconds by which a file server's clock may be ahead."""


def label_edges(label: np.ndarray) -> np.ndarray:
    """Edge map of an H x W label: uint8, 255 where a pixel's label differs from a 4-neighbour's inside the image.

    Both sides of a border are marked.
    """
    edge = np.zeros(label.shape, bool)
    vertical = label[1:] != label[:-1]
    horizontal = label[:, 1:] != label[:, :-1]
    edge[1:] = vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge.view(np.uint8) * np.uint8(255)


@dataclass(frozen=True)
class EdgesReport:
    """Result of `update_edges`."""

    made: int
    """Number of edge maps that were written."""
    fresh: int
    """Number of edge maps that were up to date and left alone."""


def update_edges(root: Path, *, force: bool = False, processes: int = 1, track: Track = untracked) -> EdgesReport:
    """Make `root/edges/<id>.png` for every `root/labels/<id>.png` where it is stale; delete nothing.

    An edge map is stale when it is missing, older than its label, or from the future: the clock was set back since, and
    its date says nothing.

    Shards have the edge maps of their labels since they were packed; nothing is made beside them.

    Args:
        force: make the other edge maps again, too.

    Raises:
        DatasetError: no labels, or a label cannot be read.
        OutputError: `root/edges` cannot be written, or a link leads out of `root`.
    """
    if packed := DatasetFolder(root).packed:
        return EdgesReport(made=0, fresh=sum(name.startswith("edges/") for name in packed))
    folder = root / "labels"
    if not folder.is_dir():
        if link := broken_link(folder):
            raise DatasetError(f"{link}; fix the link")
        raise DatasetError(
            f"{folder}: no such folder; edges are made from the label PNGs in it ('faceparse prepare' writes them)"
        )
    labels = sorted(path.relative_to(folder) for path in files_below(folder) if path.suffix == ".png")
    if not labels:
        raise DatasetError(f"{folder}: no label PNGs in it")
    stale = [path for path in labels if force or _is_stale(root, path)]
    refuse_links_out(root, root / "edges")
    make_folder(root / "edges")
    _make_all(root, stale, processes, track)
    return EdgesReport(made=len(stale), fresh=len(labels) - len(stale))


def make_missing_edges(root: Path, samples: Sequence[Sample], *, processes: int = 1, track: Track = untracked) -> int:
    """Make the edge maps that `samples` lack, and no others; return how many.

    Raises:
        DatasetError: a label cannot be read.
        OutputError: `root/edges` cannot be written.
    """
    edges = [sample.edge for sample in samples if isinstance(sample.edge, Path)]
    missing = [edge.relative_to(root / "edges") for edge in edges if not edge.is_file()]
    _make_all(root, missing, processes, track)
    return len(missing)


def _is_stale(root: Path, path: Path) -> bool:
    edge = root / "edges" / path
    if not edge.is_file():
        return True
    made, drawn = edge.stat().st_mtime_ns, (root / "labels" / path).stat().st_mtime_ns
    return made < drawn or made > time.time_ns() + _SKEW


def _make_all(root: Path, stale: Sequence[Path], processes: int, track: Track) -> None:
    refuse_links_out(root, *(root / "edges" / path for path in stale))
    for _ in track(map_files(partial(_make, root), stale, processes), len(stale), "edges"):
        pass


def _make(root: Path, path: Path) -> None:
    edge = label_edges(read_label(root / "labels" / path))
    write_atomic(root / "edges" / path, encode_png(edge))
