"""Classes of which a set has too little truth for a score that means anything."""

from typing import NamedTuple

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.records import Counts

LEAST_PIXELS = 1000
"""True pixels below which a single pixel moves F1 by about 0.1 points or more."""
LEAST_IMAGES = 20
"""Photographs with the class below which intervals are too narrow."""


class Scarce(NamedTuple):
    """A class with too little truth."""

    name: str
    pixels: int
    """True pixels in all images."""
    images: int
    """Images that have the class."""

    def __str__(self) -> str:
        pixels, images = "s" * (self.pixels != 1), "s" * (self.images != 1)
        return f"{self.name} ({self.pixels} pixel{pixels} in {self.images} photograph{images})"


def scarce_classes(counts: Counts, label_set: LabelSet) -> list[Scarce]:
    """Classes but background with fewer than `LEAST_PIXELS` true pixels or `LEAST_IMAGES` images, of N images."""
    pixels = counts.confusion.sum(axis=-1)  # N x C
    found = zip(label_set.names, pixels.sum(axis=0).tolist(), (pixels > 0).sum(axis=0).tolist(), strict=True)
    _, *classes = (Scarce(*one) for one in found)
    return [one for one in classes if one.pixels < LEAST_PIXELS or one.images < LEAST_IMAGES]


def scarce_phrase(counts: Counts, label_set: LabelSet) -> str:
    """Text that names the scarce classes of N images; empty where there are none."""
    if len(counts) < LEAST_IMAGES:
        return f"only {len(counts)} photographs, and {LEAST_IMAGES} are the least for a score that is not mostly chance"
    scarce = scarce_classes(counts, label_set)
    there, absent = [str(one) for one in scarce if one.pixels], [one.name for one in scarce if not one.pixels]
    parts = [f"no truth to score: {', '.join(absent)}"] * bool(absent)
    if there:
        parts.append(
            f"too little truth to score: {', '.join(there)}; a score of fewer than {LEAST_PIXELS} pixels or "
            f"{LEAST_IMAGES} photographs is mostly chance, and the means count it"
        )
    return "; ".join(parts)
