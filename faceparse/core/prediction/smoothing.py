"""Smooths labels from frame to frame, and measures how much they flicker."""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.faces.crops import Crop

SAME_FACE = 0.3
"""Intersection over union above which two boxes in two frames are one face."""

STILL = 5
"""Grey levels (of 255) by which a still pixel may change: that is a codec's noise, not a movement."""

Box = tuple[float, float, float, float]


def check_keep(keep: float) -> None:
    """Check the value of `--smooth`.

    Raises:
        SettingsError: it is not at least 0 (no smoothing) and less than 1.
    """
    if not 0 <= keep < 1:
        raise SettingsError(f"--smooth {keep:g}: from 0 (each frame for itself) to less than 1, such as 0.8")


class Smoother:
    """Exponential moving average of each face's class probabilities over frames, at the crop's resolution.

        average = keep * average before + (1 - keep) * probabilities now

    A face is recognized by its box. A face that was not in the frame before starts a new average.
    """

    def __init__(self, keep: float) -> None:
        """Start without faces; `keep` must pass `check_keep`."""
        self.keep = keep
        self._before: list[tuple[bool, Box, Tensor]] = []

    def __call__(self, crops: Sequence[Crop], logits: Sequence[Tensor]) -> list[Tensor]:
        """Return averaged probabilities, C x h x w, from the logits of each crop of the next frame."""
        before, now = self._before, []
        for crop, one in zip(crops, logits, strict=True):
            probabilities = one.softmax(dim=0)
            overlaps = [overlap(crop.box, box) if wide == crop.wide else 0.0 for wide, box, _ in before]
            if overlaps and max(overlaps) > SAME_FACE:
                *_, average = before.pop(overlaps.index(max(overlaps)))
                probabilities = self.keep * average + (1 - self.keep) * probabilities
            now.append((crop.wide, crop.box, probabilities))
        self._before = list(now)
        return [probabilities for *_, probabilities in now]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width, height = (min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    both = max(width, 0.0) * max(height, 0.0)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


class Flicker:
    """Share of still pixels whose class changes from one frame to the next.

    A pixel is still if its grey value changes by no more than `STILL`; pixels that move have a reason to change their
    class. This is a simple relative of the temporal consistency of Varghese et al. (CVPR Workshops 2020), who follow
    moving pixels by optical flow instead of leaving them out.
    """

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, tuple[np.ndarray, ...]] | None = None
        self._still = 0
        self._changed: np.ndarray = np.zeros(1, np.int64)

    def add(self, image: np.ndarray, *labels: np.ndarray) -> None:
        """Add the next frame (H x W x 3 uint8 RGB) and one or more labelings of it (H x W uint8)."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if self._before is not None:
            still = cv2.absdiff(grey, self._before[0]) <= STILL
            self._still += int(np.count_nonzero(still))
            changed = [np.count_nonzero((a != b) & still) for a, b in zip(labels, self._before[1], strict=True)]
            self._changed = self._changed + changed
        self._before = grey, labels

    @property
    def shares(self) -> list[float] | None:
        """Flicker of each labeling; None if no pixel was still or there were fewer than two frames."""
        return (self._changed / self._still).tolist() if self._still else None
