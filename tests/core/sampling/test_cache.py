"""A cache changes how fast samples come and nothing else."""

import errno
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.sampling import cache as cache_module
from faceparse.core.sampling.augmentation import Augmentation
from faceparse.core.sampling.batch_order import EpochSampler
from faceparse.core.sampling.cache import SampleCache, open_cache
from faceparse.core.sampling.loader import Loader
from faceparse.core.sampling.samples import Arrays, Batch, TrainingSet, augment, collate
from faceparse.core.settings import DataSettings

HELEN = get_label_set("helen")
NEEDED = 12 * 72 * 72 * 5
"""Bytes of the drawn faces' training samples."""


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Pretend that so many bytes of memory are free."""
    return lambda size: monkeypatch.setattr(cache_module, "free_memory", lambda: size)


def opened(samples: list[Sample]) -> SampleCache:
    cache, _ = open_cache(samples, "on")
    assert cache is not None
    return cache


def training_set(samples: list[Sample], cache: SampleCache | None) -> TrainingSet:
    settings = DataSettings(input_size=(64, 64), random_mirror=True, color_jitter=0.3)
    return TrainingSet(samples, HELEN, settings, seed=3, cache=cache)


def epochs(
    dataset: TrainingSet, *, workers: int, count: int = 3, size: int = 4, persistent: bool = True
) -> list[Batch]:
    batches = EpochSampler(len(dataset), batch_size=size, seed=3)
    device = torch.device("cpu")
    loader = Loader(dataset, collate, device=device, workers=workers, batches=batches, persistent=persistent)
    loaded = []
    for batches.epoch in range(1, count + 1):
        loaded += list(loader)
    return loaded


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def decoded(sample: Sample) -> tuple[np.ndarray, ...]:
    return read_image(sample.image), read_label(sample.label), read_label(sample.edge)


def equal(found: tuple[np.ndarray, ...] | None, expected: tuple[np.ndarray, ...]) -> bool:
    assert found is not None
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


# The same samples.


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_and_without(faces: Path, workers: int) -> None:
    samples = DatasetFolder(faces).samples("train")
    expected = epochs(training_set(samples, None), workers=0)
    assert_same(epochs(training_set(samples, opened(samples)), workers=workers), expected)


@pytest.mark.parametrize("persistent", [True, False])
def test_what_one_process_reads_all_others_have(own_faces: Path, persistent: bool) -> None:
    """Filled by the processes of one loader, read by this one and by another loader's, with no files left."""
    samples = DatasetFolder(own_faces).samples("train")
    expected = epochs(training_set(samples, None), workers=0)
    files = [decoded(sample) for sample in samples]
    cache = opened(samples)
    assert all(cache.get(index) is None for index in range(12))
    epochs(training_set(samples, cache), workers=2, count=1)
    shutil.rmtree(own_faces)
    assert all(equal(cache.get(index), files[index]) for index in range(12))
    assert_same(epochs(training_set(samples, cache), workers=2, persistent=persistent), expected)


def test_samples_of_many_sizes_lie_side_by_side() -> None:
    random = np.random.default_rng(0)
    sizes = [(3, 7), (1, 1), (40, 33), (7, 3)]
    arrays = [tuple(random.integers(0, 256, (*size, *more), np.uint8) for more in ((3,), (), ())) for size in sizes]
    cache = SampleCache(sizes)
    assert cache.nbytes == 4 + 5 * (21 + 1 + 1320 + 21)
    for index in (2, 0, 3, 1):
        assert cache.get(index) is None
        cache.put(index, *arrays[index])
    assert all(equal(cache.get(index), arrays[index]) for index in range(4))


# Nobody changes them.


def test_augmentation_leaves_kept_samples_as_they_are(faces: Path) -> None:
    (sample, *_) = samples = DatasetFolder(faces).samples("train")
    cache = opened(samples)
    cache.put(0, *decoded(sample))
    kept = cache.get(0)
    assert kept is not None
    for mirror in (False, True):
        for colour in ({}, {"brightness": 1.3, "contrast": 0.7, "saturation": 0.5}):
            done = Augmentation(mirror=mirror, **colour)
            found = augment(Arrays(*kept), done, (72, 72), HELEN.mirror_table())  # a crop of the photograph's own size
            assert equal(found, augment(Arrays(*decoded(sample)), done, (72, 72), HELEN.mirror_table()))
            assert not any(np.shares_memory(a, b) for a in found for b in kept)
            assert equal(cache.get(0), decoded(sample))


def test_a_kept_sample_cannot_be_written_to(faces: Path) -> None:
    samples = DatasetFolder(faces).samples("train")
    cache = opened(samples)
    cache.put(0, *decoded(samples[0]))
    for array in cache.get(0) or ():
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


# Files that are wrong.


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("part", ["image", "label", "edge"])
@pytest.mark.parametrize("kept", [60, 8])
def test_a_damaged_file_gives_the_line_that_it_gives_without(
    own_faces: Path, part: str, workers: int, kept: int
) -> None:
    """Cut off behind its header, and within it."""
    samples = DatasetFolder(own_faces).samples("train")
    file: Path = getattr(samples[7], part)
    file.write_bytes(file.read_bytes()[:kept])
    lines = []
    for cache in (None, opened(samples)):
        with pytest.raises(DatasetError) as caught:
            # In one batch: processes that still have batches to hand over take long to end.
            epochs(training_set(samples, cache), workers=workers, count=1, size=12)
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert str(file) in lines[0]


def test_a_file_that_grew_since_its_header_was_read_is_read_each_time(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    cache = opened(samples)
    larger = np.zeros((90, 80), np.uint8)
    samples[0].image.write_bytes(encode_png(np.dstack([larger] * 3)))
    samples[0].label.write_bytes(encode_png(larger))
    samples[0].edge.write_bytes(encode_png(larger))
    with_cache, without = training_set(samples, cache), training_set(samples, None)
    for epoch in (1, 2):
        assert equal(with_cache[epoch, 0][0], without[epoch, 0][0])
        assert equal(with_cache[epoch, 1][0], without[epoch, 1][0])
    assert cache.get(0) is None
    assert equal(cache.get(1), decoded(samples[1]))


# Memory.


def test_a_cache_is_opened_where_memory_allows(faces: Path, free: Callable[[float], None]) -> None:
    samples = DatasetFolder(faces).samples("train")
    free(NEEDED * 2)
    cache, line = open_cache(samples, "auto")
    assert cache is not None
    assert cache.nbytes == 12 + NEEDED
    assert line == "decoded samples stay in memory, 0.00029 GiB"


def test_without_room_auto_does_without_and_says_so(faces: Path, free: Callable[[float], None]) -> None:
    free(NEEDED * 2 - 2)
    assert open_cache(DatasetFolder(faces).samples("train"), "auto") == (
        None,
        "files are decoded anew each epoch: a cache needs 0.00029 GiB, but 0.000579 GiB is free, "
        "of which it may take 50%",
    )


def test_on_takes_more_and_refuses_without_room(faces: Path, free: Callable[[float], None]) -> None:
    samples = DatasetFolder(faces).samples("train")
    free(NEEDED / 0.9 + 2)
    assert open_cache(samples, "on")[0] is not None
    free(NEEDED)
    with pytest.raises(SettingsError) as caught:
        open_cache(samples, "on")
    assert str(caught.value) == (
        "data.cache = 'on': the cache needs 0.00029 GiB, but 0.00029 GiB is free, of which it may take 90%; "
        "use auto or off"
    )


def test_processes_share_what_is_free(faces: Path, free: Callable[[float], None]) -> None:
    samples = DatasetFolder(faces).samples("train")
    free(NEEDED * 2 * 3)
    assert open_cache(samples, "auto", processes=3)[0] is not None
    cache, line = open_cache(samples, "auto", processes=4)
    assert cache is None
    assert "0.00174 GiB is free among 4 processes, of which it may take 50%" in line


def test_off_does_not_even_look_at_the_files(tmp_path: Path) -> None:
    nowhere = tmp_path / "gone"
    assert open_cache([Sample("a", *[nowhere] * 5)], "off") == (None, "")


def test_a_system_that_gives_no_block_is_no_room(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    samples = DatasetFolder(faces).samples("train")
    monkeypatch.setattr(os, "memfd_create", refuse)
    cache, line = open_cache(samples, "auto")
    assert cache is None
    assert line.endswith("a cache needs 0.00029 GiB, but Too many open files")
    with pytest.raises(SettingsError, match=r"^data\.cache = 'on': .*, but Too many open files; use auto or off$"):
        open_cache(samples, "on")


@pytest.mark.parametrize("written", [None, 100])
def test_when_memory_runs_out_after_all_samples_are_read_from_files(
    faces: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    def fail(*_: object) -> int:
        if written is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    samples = DatasetFolder(faces).samples("train")
    cache = opened(samples)
    monkeypatch.setattr(os, "pwritev", fail)
    assert_same(epochs(training_set(samples, cache), workers=0), epochs(training_set(samples, None), workers=0))
    assert all(cache.get(index) is None for index in range(12))


def test_memory_is_taken_as_samples_come_and_outside_the_room_of_dev_shm() -> None:
    """More than any machine has, so that a test notices where all is taken at once."""
    cache = SampleCache([(1000, 1000)] * 10**6)
    cache.put(999_999, *(np.ones(shape, np.uint8) for shape in ((1000, 1000, 3), (1000, 1000), (1000, 1000))))
    kept = cache.get(999_999)
    assert kept is not None
    assert all(array.all() for array in kept)
    assert cache.nbytes > 4 * 10**12


def test_a_cache_that_is_gone_gives_back_its_block() -> None:
    def blocks() -> int:
        links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return sum(link.name.startswith("memfd:faceparse-samples") for link in links)

    gc.collect()
    before = blocks()
    cache = SampleCache([(4, 4)])
    assert blocks() > before
    del cache
    gc.collect()
    assert blocks() == before
