"""Groups of faces by their size in the truth. Small faces are harder, and a mean hides by how much."""

from itertools import pairwise

import numpy as np

from faceparse.core.scoring.records import Counts

EDGES = (0.0, 64.0, 128.0, 256.0, 512.0, np.inf)
"""Sides in pixels at which a bin begins, each twice the one before.

COCO's bounds (32 and 96) are for objects anywhere in a scene; nearly all photographs of faces would be large."""


def face_sides(counts: Counts) -> np.ndarray:
    """Side in pixels of the square with as many pixels as the face, for each of N images.

    The face is everything in the truth that is neither background nor ignored. So hair, neck or clothes count where the
    label set has them.
    """
    return np.sqrt(counts.confusion[:, 1:].sum(axis=(1, 2)))


def size_bins(counts: Counts) -> dict[tuple[float, float], np.ndarray]:
    """Bounds (from, below) in pixels -> positions of the images, without empty bins."""
    sides = face_sides(counts)
    found = {(low, high): np.flatnonzero((low <= sides) & (sides < high)) for low, high in pairwise(EDGES)}
    return {bounds: images for bounds, images in found.items() if len(images)}
