"""Measure the geometry of the faces in a training set from its labels."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.faces.alignment import UnusablePointsError, label_points
from faceparse.core.faces.geometry import FaceGeometry, square_to_crop, summarise
from faceparse.core.files.packed import Stored
from faceparse.core.images.read_label import read_label
from faceparse.core.images.warp import Size, apply, chain, crop_matrix, invert
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, map_files

ENOUGH = 500
"""Number of labels to measure, spread evenly over the set. Means of 500 are accurate to a thousandth of the side."""


def measure_geometry(
    samples: Sequence[Sample], label_set: LabelSet, size: Size, *, processes: int, track: Track
) -> FaceGeometry | None:
    """Positions of eyes, nose and mouth in crops of `size`; None where the label set or the labels do not show them.

    Raises:
        DatasetError: a label cannot be read.
    """
    if not label_set.part_ids() or not samples:
        return None
    chosen = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, ENOUGH).astype(int))]
    measured = map_files(
        partial(_measure, label_set=label_set, size=size), [sample.label for sample in chosen], processes
    )
    found = [one for one in track(measured, len(chosen), "measuring faces") if one is not None]
    return summarise(*zip(*found, strict=True)) if found else None


def _measure(path: Stored, *, label_set: LabelSet, size: Size) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    label = read_label(path)
    try:
        points = label_points(label, label_set)
    except UnusablePointsError:
        return None
    masks = [np.isin(label, ids) for ids in label_set.part_ids()]
    y, x = np.nonzero(masks[-1])
    centres = np.vstack([points[:3], [[x.mean(), y.mean()]]])
    to_square = chain(crop_matrix((label.shape[0], label.shape[1]), size), invert(square_to_crop(size)))
    areas = np.array([mask.sum() for mask in masks]) * abs(np.linalg.det(to_square[:, :2]))
    return apply(to_square, centres), apply(to_square, points), areas
