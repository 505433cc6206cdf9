"""Images in thirds by a measure of their truth. A single mean hides for which images a network is worse."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, default_processes, map_threads, untracked
from faceparse.core.sampling.samples import read_pair
from faceparse.core.scoring.records import Counts

SKIN = "skin"
"""The class that both measures need. A label set without it has no thirds."""

_ENCODED = np.arange(256) / 255
_LINEAR = np.where(_ENCODED <= 0.04045, _ENCODED / 12.92, ((_ENCODED + 0.055) / 1.055) ** 2.4)
"""Light for each of sRGB's 256 values."""


class Third(NamedTuple):
    """Images of one third, and their range of values."""

    low: float
    high: float
    """Least and greatest value in the third."""
    images: np.ndarray
    """Positions of the images."""


def split_in_thirds(values: np.ndarray) -> list[Third]:
    """Thirds of equal number, except for a rest of one or two, the lowest values first.

    Images without a value (nan) are in no third. Fewer than three images give fewer thirds.
    """
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(values[there], kind="stable")]
    parts = [part for part in np.array_split(order, 3) if len(part)]
    return [Third(float(values[part[0]]), float(values[part[-1]]), part) for part in parts]


def face_shares(counts: Counts, label_set: LabelSet) -> np.ndarray:
    """Side of the square with as many pixels as the face, as a share of the square with all pixels, for N images.

    The face is skin, eyes, nose and mouth in the truth: hair and clothes do not make it larger. nan without a face.
    """
    if SKIN not in label_set.classes:
        return np.full(len(counts), np.nan)
    names = dict.fromkeys([SKIN, *(name for group in label_set.landmarks.values() for name in group)])
    pixels = counts.confusion.sum(axis=2)
    face = pixels[:, list(label_set.ids(names))].sum(axis=1)
    return np.where(face > 0, np.sqrt(face / np.maximum(pixels.sum(axis=1), 1)), np.nan)


def skin_lightness(samples: Sequence[Sample], label_set: LabelSet, *, track: Track = untracked) -> np.ndarray:
    """Median lightness of the photograph where the truth is skin, for each sample; nan where there is no skin.

    Raises:
        DatasetError: a file is broken.
    """
    if SKIN not in label_set.classes:
        return np.full(len(samples), np.nan)
    threads = min(default_processes(), 4)
    found = map_threads(partial(_read_lightness, label_set=label_set), samples, threads, ahead=2 * threads)
    return np.array(list(track(found, len(samples), "lightness of the skin")))


def _read_lightness(sample: Sample, *, label_set: LabelSet) -> float:
    image, label = read_pair(sample, len(label_set))
    (skin,) = label_set.ids([SKIN])
    return median_lightness(image[label == skin])


def median_lightness(pixels: np.ndarray) -> float:
    """Median CIE L* of N x 3 uint8 sRGB pixels, 0 (black) to 100 (white); nan for no pixels."""
    if not len(pixels):
        return np.nan
    luminance = _LINEAR[pixels] @ (0.2126, 0.7152, 0.0722)
    # OpenCV's Lab is off by 0.2 in L*.
    lightness = np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, (29 / 3) ** 3 * luminance)
    return float(np.median(lightness))
