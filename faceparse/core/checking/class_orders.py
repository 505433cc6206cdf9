"""Tells apart the class orders in which people share CelebAMask-HQ labels, by what faces look like.

Nothing is learned. Under the right order, brows lie above eyes, lips below the nose and cloth below the neck. Under a
wrong order, the names belong to other parts, and most of these statements do not hold.
"""

from collections.abc import Iterator

import numpy as np

from faceparse.core.checking.moments import Moments
from faceparse.core.labels.label_set import LabelSet

ORDERS = {
    "official": "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear "
    "mouth u_lip l_lip hair hat ear_r neck_l neck cloth",
    "FaRL/SegFace": "background neck skin cloth r_ear l_ear r_brow l_brow r_eye l_eye "
    "nose mouth l_lip u_lip hair eye_g hat ear_r neck_l",
    "zllrunning": "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r "
    "nose mouth u_lip l_lip neck neck_l cloth hair hat",
}
"""Name of an order -> its classes in id order, with the names of the label set celebamask-hq."""

ABOVE = (
    "l_brow l_eye, r_brow r_eye, l_eye nose, r_eye nose, nose u_lip, u_lip l_lip, u_lip mouth, mouth l_lip, "
    "l_lip neck, mouth neck, neck cloth, skin cloth, hair skin, hair cloth, hat nose, eye_g u_lip, l_brow l_ear, "
    "r_brow r_ear, l_ear neck, r_ear neck, l_ear ear_r, l_lip neck_l"
)
"""Pairs of classes: the first lies above the second."""
LARGER = (
    "skin nose, skin l_eye, skin r_eye, skin l_brow, skin r_brow, skin u_lip, skin l_lip, skin mouth, skin l_ear, "
    "skin r_ear, skin neck, nose l_eye, nose r_eye, nose l_brow, nose r_brow, nose u_lip, hair l_brow, hair r_brow, "
    "hair l_eye, hair r_eye, hair nose, hair u_lip, hair l_lip, neck neck_l, l_ear ear_r"
)
"""Pairs of classes: the first is larger than the second."""
BETWEEN = "l_eye nose r_eye, l_brow nose r_brow, l_ear nose r_ear, l_eye u_lip r_eye, l_ear skin r_ear"
"""Triples of classes: the second lies between the others, from left to right or from right to left."""
CENTRAL = "l_brow, r_brow, l_lip, neck, cloth, l_ear, r_ear"
"""Classes that lie farther from the skin's centre than the nose."""

ALWAYS = frozenset(["skin", "nose", "l_eye", "r_eye", "l_brow", "r_brow", "u_lip", "l_lip", "hair"])
"""Classes of nearly every label. A statement about these alone does not hold where one of them is absent."""

MIN_IMAGES = 5
MIN_SCORE = 0.85
MIN_MARGIN = 0.15
"""Smallest distance to the second best order. Drawn faces score 0.99 in their own order, at most 0.75 in another."""


def detect_order(moments: Moments, label_set: LabelSet) -> str | None:
    """Name of the order that the labels look like: the label set's name for its own order, else a key of `ORDERS`.

    Args:
        moments: moments of the dataset's labels, N x 19.

    Returns:
        None where the label set has other classes than CelebAMask-HQ, for fewer than 5 labels, or without a clear
        margin.
    """
    orders = _candidates(label_set)
    if not orders or len(moments.pixels) < MIN_IMAGES:
        return None
    scores = {name: score_order(moments, order) for name, order in orders.items()}
    best, second = sorted(scores, key=lambda name: scores[name], reverse=True)[:2]
    clear = scores[best] >= MIN_SCORE and scores[best] - scores[second] >= MIN_MARGIN
    return best if clear else None


def _candidates(label_set: LabelSet) -> dict[str, tuple[str, ...]]:
    """Orders by name, the label set's own first; empty where the label set has other classes."""
    known = {name: tuple(order.split()) for name, order in ORDERS.items()}
    if set(label_set.names) != set(known["official"]):
        return {}
    return {label_set.name: label_set.names} | {
        name: order for name, order in known.items() if order != label_set.names
    }


def order_table(order: str, label_set: LabelSet) -> np.ndarray:
    """Table of 256 uint8: `table[label]` is the label in the label set's order. Ids that are no class do not change."""
    table = np.arange(256, dtype=np.uint8)
    names = ORDERS[order].split()
    table[: len(names)] = label_set.ids(names)
    return table


def score_order(moments: Moments, order: tuple[str, ...]) -> float:
    """Share, 0 to 1, of the statements about all labels that hold if the labels are in `order`."""
    held = asked = 0
    for names, holds in _statements(moments, order):
        present = moments.present[:, [order.index(name) for name in names]].all(axis=1)
        held += int(np.count_nonzero(holds & present))
        asked += len(moments.pixels) if ALWAYS.issuperset(names) else int(np.count_nonzero(present))
    return held / asked if asked else 0.0


def _statements(moments: Moments, order: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Classes that each statement is about, and for which of the N labels it holds (with NaN it does not)."""
    area, x, y = ({name: values[:, i] for i, name in enumerate(order)} for values in moments)
    for upper, lower in _parse(ABOVE):
        yield (upper, lower), y[upper] < y[lower]
    for large, small in _parse(LARGER):
        yield (large, small), area[large] > area[small]
    for one, middle, other in _parse(BETWEEN):
        yield (one, middle, other), (x[one] - x[middle]) * (x[middle] - x[other]) > 0
    distance = {name: np.hypot(x[name] - x["skin"], y[name] - y["skin"]) for name in order}
    for (outer,) in _parse(CENTRAL):
        yield ("skin", "nose", outer), distance["nose"] < distance[outer]


def _parse(statements: str) -> list[list[str]]:
    return [statement.split() for statement in statements.split(",")]
