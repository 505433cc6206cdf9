"""Compare training samples from shards with the same samples from loose files."""

import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.harness import Result, make_faces, medians, one_thread, speedup
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.datasets.pack import pack
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.sampling.samples import TrainingSet
from faceparse.core.settings import DataSettings

FACES, SIZE = 40, 512


def run() -> list[Result]:
    """Measure an epoch of samples from tar and from Parquet, each against one from files."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        loose = Path(folder) / "loose"
        make_faces(loose, FACES, SIZE)
        kinds = ("webdataset", "parquet")
        for kind in kinds:
            pack(loose, Path(folder) / kind, to=kind)
        epochs = [_epochs(root) for root in (*(Path(folder) / kind for kind in kinds), loose)]
        *ours, files = medians(*epochs, rounds=15)
    what = "shards: training samples of {}, against the same of loose files"
    return [speedup(what.format(kind), taken, files, 0.95) for kind, taken in zip(kinds, ours, strict=True)]


def _epochs(root: Path) -> Callable[[], object]:
    """Function that reads all samples of train, without a cache, with the augmentations of one epoch after another."""
    dataset = TrainingSet(DatasetFolder(root).samples("train"), get_label_set("helen"), DataSettings(), seed=0)
    epoch = count()

    def read() -> None:
        now = next(epoch)
        for index in range(len(dataset)):
            dataset[now, index]

    return read
