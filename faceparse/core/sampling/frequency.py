"""Class frequencies of a training set, and the sampling and loss weights that follow from them."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.files.packed import Stored
from faceparse.core.images.read_label import read_label
from faceparse.core.machine.parallel import Track, map_files


def count_classes(samples: Sequence[Sample], classes: int, *, processes: int, track: Track) -> np.ndarray:
    """N x C int64: pixels of each class in each sample's label, without ignored pixels.

    Raises:
        DatasetError: a label cannot be read.
    """
    counts = map_files(partial(_count, classes=classes), [sample.label for sample in samples], processes)
    return np.stack(list(track(counts, len(samples), "counting classes")))


def _count(path: Stored, *, classes: int) -> np.ndarray:
    return np.bincount(read_label(path).ravel(), minlength=256)[:classes]


def sampling_shares(counts: np.ndarray, threshold: float) -> np.ndarray:
    """N x C pixel counts -> N numbers from 1 upwards: how often to draw each sample.

    A class in a share f < `threshold` of the samples raises the number of those samples to sqrt(threshold / f). The
    rarest class of a sample decides (Gupta et al., LVIS, CVPR 2019, repeat factor sampling).
    """
    present = counts > 0
    frequency = present.mean(axis=0)
    factors = np.sqrt(np.maximum(threshold / np.maximum(frequency, 1e-12), 1.0))
    return np.asarray(np.where(present, factors, 1.0).max(axis=1))


def class_weights(counts: np.ndarray, kind: Literal["root", "enet"], limits: tuple[float, float]) -> np.ndarray:
    """N x C pixel counts -> C float32 weights, as `loss.class_weights` describes them, within `limits`."""
    total = counts.sum(axis=0)
    share = total / max(total.sum(), 1)
    with np.errstate(divide="ignore"):
        weights = 1 / np.sqrt(share * len(share)) if kind == "root" else 1 / np.log(1.02 + share)
    return np.clip(weights, *limits).astype(np.float32)
