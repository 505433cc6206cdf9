"""Compare samples from a warm cache with samples from files, and loader processes with reading samples alone."""

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from benchmarks.harness import Result, make_faces, medians, one_thread, speedup
from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.sampling.batch_order import EpochSampler
from faceparse.core.sampling.cache import open_cache
from faceparse.core.sampling.loader import Loader
from faceparse.core.sampling.samples import TrainingSet, collate
from faceparse.core.settings import DataSettings

SAMPLES = 280
"""Samples per epoch: few photographs, each many times."""
WORKERS = 2


def run() -> list[Result]:
    """Measure the cache and the loader processes."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        make_faces(Path(folder), 20, 512)
        samples = DatasetFolder(Path(folder)).samples("train")
        samples = (samples * SAMPLES)[:SAMPLES]
        return [_warm(samples), _keeping_up(samples)]


def _dataset(samples: list[Sample], *, cached: bool) -> TrainingSet:
    cache, _ = open_cache(samples, "on" if cached else "off")
    return TrainingSet(samples, get_label_set("helen"), DataSettings(), seed=0, cache=cache)


def _items(dataset: TrainingSet) -> Iterator[object]:
    """Samples without end.

    Each epoch has another augmentation, but all datasets have the same ones: a large rotation takes longer to warp.
    """
    return (dataset[epoch, index] for epoch in count() for index in range(len(dataset)))


def _warm(samples: list[Sample]) -> Result:
    kept, read = (_items(_dataset(samples[:14], cached=cached)) for cached in (True, False))
    for _ in range(14):  # the first epoch fills the cache
        next(kept), next(read)
    ours, files = medians(lambda: next(kept), lambda: next(read), rounds=300)
    return speedup("cache: a training sample of a warm cache, against one of its files", ours, files, 1.5)


def _keeping_up(samples: list[Sample]) -> Result:
    dataset = _dataset(samples, cached=False)
    batches = EpochSampler(len(dataset), batch_size=7, seed=0)
    cpu = torch.device("cpu")
    loader = Loader(dataset, collate, device=cpu, workers=WORKERS, batches=batches, persistent=True)
    alone = _items(dataset)

    def ours() -> None:
        for _ in loader:
            pass

    def floor() -> None:
        for _ in range(SAMPLES // WORKERS):
            next(alone)

    taken, least = medians(ours, floor, rounds=5)
    what = f"cache: {WORKERS} loader processes, their rate as a share of {WORKERS} x reading samples alone"
    return Result(what, taken / SAMPLES, least / SAMPLES, least / taken, 0.8, "at least")
