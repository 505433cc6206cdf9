"""Checks that left and right in the labels are those of the label set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from faceparse.core.checking.moments import Moments
from faceparse.core.labels.label_set import LabelSet

MIN_IMAGES = 5
"""Smallest number of labels with both classes; fewer give no verdict."""


def side_problems(moments: Moments, label_set: LabelSet, labels: Path) -> list[str]:
    """One line for each pair of a left and a right class that lie on the wrong sides in at least half of the labels.

    Args:
        moments: moments of the dataset's labels, N x C.
        label_set: its `side` says which side is right.
        labels: folder that the lines name.
    """
    if label_set.side == "none":
        return []
    left_of, other = ("left", "subject") if label_set.side == "viewer" else ("right", "viewer")
    opposite = {"left": "right", "right": "left"}[left_of]
    problems = []
    for left, right in _pairs(label_set.names):
        one, two = label_set.ids([left, right])
        both = moments.present[:, one] & moments.present[:, two]
        at_left = moments.x[both, one] < moments.x[both, two]
        agree = int(np.count_nonzero(at_left == (left_of == "left")))
        against = len(at_left) - agree
        if len(at_left) >= MIN_IMAGES and against >= agree:
            problems.append(
                f"{labels}: {left} lies {opposite} of {right} in {against} labels and {left_of} of it in {agree}, but "
                f"side = {label_set.side!r} puts it {left_of}; swap their ids, or set side = {other!r} in the label set"
            )
    return problems


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names `left_x` and `right_x`, or `l_x` and `r_x`. `l_lip`, the lower lip, has no `r_lip`."""
    prefixes = (("left_", "right_"), ("l_", "r_"))
    pairs = [
        (name, right + name.removeprefix(left)) for left, right in prefixes for name in names if name.startswith(left)
    ]
    return [pair for pair in pairs if pair[1] in names]
