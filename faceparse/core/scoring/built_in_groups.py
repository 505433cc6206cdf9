"""The built-in groupings: skin colour, turn of the head and size of the face, measured in truth and photograph."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.faces.alignment import UnusablePointsError, label_points
from faceparse.core.images.cie_lab import cie_lab
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, default_processes, map_threads, untracked
from faceparse.core.sampling.samples import read_pair
from faceparse.core.scoring.groups import Grouping, by_bins, by_thirds, by_words, span_phrase
from faceparse.core.scoring.records import Counts

SKIN = "skin"
"""The class that the measures of the skin and `face_share` need."""

LIGHT, YELLOW = 60.0, 55.0
"""L* from which skin is light, and hue angle in degrees from which it is yellow.

From Thong, Joniak & Xiang, *Beyond Skin Tone: A Multidimensional Measure of Apparent Skin Color*, ICCV 2023. Lightness
alone hides that networks may also be worse for red or for yellow skin."""

LEAST_CHROMA = 2.0
"""Distance from grey in a*b* below which skin has no hue: black-and-white photographs have only noise there."""

TURNED = 0.1
"""Nose offset beyond which a face is turned.

On 150 drawn faces the offset is 0.38 tan(yaw), so this is a yaw of 15 degrees there. Real noses differ, so the measure
stays an offset. Of 742 photographs of CelebAMask-HQ's train and val, 13 % lie beyond."""

SIDES = (-np.inf, 64.0, 128.0, 256.0, 512.0, np.inf)
"""Sides of faces in pixels at which a bin begins, each twice the one before.

COCO's bounds (32 and 96) are for objects anywhere in a scene; nearly all photographs of faces would be large."""


NAMES = ("skin_lightness", "skin_hue", "skin_colour", "nose_offset", "face_side", "face_share")
"""Names of the built-in groupings. A column of a file needs another name."""


class Measures(NamedTuple):
    """Measures of one photograph with its truth; nan where it cannot be."""

    lightness: float
    """Median L* of the skin."""
    hue: float
    """Hue angle of the skin, atan2(b*, a*) of its mean a* and b*, in degrees: 0 is red, 90 yellow."""
    nose_offset: float
    """Distance of the nose from the middle of the eyes, along the line through the eyes, in eye distances.

    Positive to the image's right."""


def photograph_groupings(
    samples: Sequence[Sample], label_set: LabelSet, *, track: Track = untracked
) -> tuple[Grouping, ...]:
    """Groupings by skin and by the turn of the head, as far as the label set and the photographs allow.

    Raises:
        DatasetError: a file is broken.
    """
    if SKIN not in label_set.classes and not label_set.landmarks:
        return ()
    threads = min(default_processes(), 4)
    found = map_threads(partial(_measure_sample, label_set=label_set), samples, threads, ahead=2 * threads)
    measured = np.array(list(track(found, len(samples), "measures for groups"))).reshape(-1, len(Measures._fields))
    return measured_groupings(*measured.T)


def measured_groupings(lightness: np.ndarray, hue: np.ndarray, nose_offset: np.ndarray) -> tuple[Grouping, ...]:
    """Groupings from the measures of N photographs, without those that put no photograph into a group."""
    colours = [_colour(*one) for one in zip(lightness.tolist(), hue.tolist(), strict=True)]
    found = (
        by_thirds("skin_lightness", lightness),
        by_thirds("skin_hue", hue),
        by_words("skin_colour", colours, ("light-red", "light-yellow", "dark-red", "dark-yellow")),
        by_bins(
            "nose_offset",
            nose_offset,
            (-np.inf, -TURNED, TURNED, np.inf),
            ("turned left", "frontal", "turned right"),
        ),
    )
    return tuple(grouping for grouping in found if grouping.groups)


def face_groupings(counts: Counts, label_set: LabelSet) -> tuple[Grouping, ...]:
    """Groupings by the face's size in pixels, and by its share of the photograph, from the counts of N images."""
    inner = [None, *SIDES[1:-1], None]
    found = (
        by_bins("face_side", face_sides(counts), SIDES, [span_phrase(*bounds) for bounds in pairwise(inner)]),
        by_thirds("face_share", face_shares(counts, label_set)),
    )
    return tuple(grouping for grouping in found if grouping.groups)


def face_sides(counts: Counts) -> np.ndarray:
    """Side in pixels of the square with as many pixels as the face, for each of N images.

    The face is everything in the truth that is neither background nor ignored. So hair, neck or clothes count where the
    label set has them.
    """
    return np.sqrt(counts.confusion[:, 1:].sum(axis=(1, 2)))


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


def measure(image: np.ndarray, label: np.ndarray, label_set: LabelSet) -> Measures:
    """Measures of one photograph, H x W x 3 uint8 RGB, and its truth, H x W uint8 ids."""
    skin = image[label == label_set.names.index(SKIN)] if SKIN in label_set.classes else image[:0, 0]
    return Measures(*skin_colour(skin), nose_offset(label, label_set))


def skin_colour(pixels: np.ndarray) -> tuple[float, float]:
    """Median L* and hue angle in degrees of N x 3 uint8 sRGB pixels; nan for no pixels, and for the hue of greys."""
    if not len(pixels):
        return np.nan, np.nan
    lab = cie_lab(pixels)
    _, a, b = lab.mean(axis=0)
    hue = np.degrees(np.arctan2(b, a)) if np.hypot(a, b) >= LEAST_CHROMA else np.nan
    return float(np.median(lab[:, 0])), float(hue)


def nose_offset(label: np.ndarray, label_set: LabelSet) -> float:
    """How far the nose is from the middle of the eyes, as in `Measures`; nan where the label lacks a point."""
    if not label_set.landmarks:
        return np.nan
    try:
        left, right, nose, *_ = label_points(label, label_set)
    except UnusablePointsError:
        return np.nan
    axis = right - left
    return float((nose - (left + right) / 2) @ axis / (axis @ axis)) if axis.any() else np.nan


def _measure_sample(sample: Sample, *, label_set: LabelSet) -> Measures:
    return measure(*read_pair(sample, len(label_set)), label_set)


def _colour(lightness: float, hue: float) -> str | None:
    if np.isnan(lightness) or np.isnan(hue):
        return None
    return f"{'light' if lightness >= LIGHT else 'dark'}-{'yellow' if hue >= YELLOW else 'red'}"
