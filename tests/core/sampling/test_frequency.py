"""Class counts, and what follows from them, against loops."""

import math
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import DatasetError
from faceparse.core.images.read_label import read_label
from faceparse.core.machine.parallel import untracked
from faceparse.core.sampling.frequency import class_weights, count_classes, sampling_shares

RANDOM = np.random.default_rng(0)
COUNTS = np.array([[90, 10, 0, 0], [50, 0, 0, 0], [70, 20, 10, 0], [99, 0, 0, 0], [80, 0, 0, 0]])
"""Five samples, four classes: in all, in two, in one, in none."""


@pytest.mark.parametrize("processes", [1, 2])
def test_pixels_are_counted_by_sample_and_class(faces: Path, processes: int) -> None:
    samples = DatasetFolder(faces).samples("train")
    found = count_classes(samples, 11, processes=processes, track=untracked)
    assert found.shape == (len(samples), 11)
    for row, sample in zip(found, samples, strict=True):
        label = read_label(sample.label)
        for number in range(11):
            assert row[number] == sum(int(value) == number for value in label.ravel())


def test_ignored_pixels_count_nowhere(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")[:1]
    before = count_classes(samples, 11, processes=1, track=untracked)
    label = read_label(samples[0].label)
    ignored = label.copy()
    ignored[:5] = 255
    write_label(samples[0].label, ignored)
    after = count_classes(samples, 11, processes=1, track=untracked)
    lost = np.array([[(label[:5] == number).sum() for number in range(11)]])
    assert np.array_equal(before - after, lost)
    assert lost.sum() == label[:5].size


def write_label(path: Path, label: np.ndarray) -> None:
    import cv2

    assert cv2.imwrite(str(path), label)


def test_a_label_that_cannot_be_read_is_named(own_faces: Path) -> None:
    samples = DatasetFolder(own_faces).samples("train")
    samples[1].label.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=samples[1].label.name):
        count_classes(samples, 11, processes=1, track=untracked)


@pytest.mark.parametrize("threshold", [0.001, 0.3, 0.5, 1.0])
def test_a_samples_share_is_that_of_its_rarest_class(threshold: float) -> None:
    expected = []
    for row in COUNTS:
        factor = 1.0
        for number in range(4):
            if row[number]:
                frequency = sum(other[number] > 0 for other in COUNTS) / len(COUNTS)
                factor = max(factor, math.sqrt(threshold / frequency))
        expected.append(factor)
    assert sampling_shares(COUNTS, threshold) == pytest.approx(expected)


def test_where_no_class_is_rare_all_samples_are_alike() -> None:
    assert sampling_shares(np.ones((7, 3), int), 1.0).tolist() == [1.0] * 7


@pytest.mark.parametrize("kind", ["root", "enet"])
def test_a_classs_weight_falls_with_its_share_of_the_pixels(kind: str) -> None:
    counts = RANDOM.integers(0, 1000, (9, 6)) * np.array([1, 1, 10, 100, 5, 0])
    limits = (2.0, 5.0)
    found = class_weights(counts, kind, limits)  # type: ignore[arg-type]
    everything = sum(int(value) for value in counts.ravel())
    for number in range(6):
        share = sum(int(row[number]) for row in counts) / everything
        root = 1 / math.sqrt(share * 6) if share else math.inf
        expected = {"root": root, "enet": 1 / math.log(1.02 + share)}[kind]
        assert found[number] == pytest.approx(min(max(expected, 2.0), 5.0), rel=1e-5)
    assert found.dtype == np.float32
    assert (found.min(), found.max()) == limits


def test_a_class_that_is_as_frequent_as_the_others_weighs_one() -> None:
    assert class_weights(np.full((3, 4), 25), "root", (0.1, 9.0)).tolist() == [1.0] * 4
