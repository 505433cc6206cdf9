"""Facts about each parsed photograph, as the ledger keeps them for the report: faces, confidence, areas."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from pydantic import TypeAdapter, ValidationError

from faceparse.core.faces.crops import Crop
from faceparse.core.faces.face import Face
from faceparse.core.images.warp import Size, apply, invert
from faceparse.core.text.shapes import explain

STEP = 4
"""Confidence is the mean over each fourth pixel of each fourth row: a sixteenth of the work."""


@dataclass(frozen=True)
class FaceFacts:
    """A face of a photograph."""

    height: float
    """Height of its box, in pixels."""
    share: float
    """The same as a share of the photograph's height."""
    confidence: float | None
    """See `confidences`."""


@dataclass(frozen=True)
class Facts:
    """A photograph."""

    confidence: float | None
    """Mean over all of its faces' pixels; None without a face. See `confidences`."""
    pixels: tuple[int, ...]
    """Number of pixels of each class, by id."""
    faces: tuple[FaceFacts, ...] | None
    """None where it was parsed as a whole."""


def facts_of(
    label: np.ndarray, classes: int, faces: Sequence[Face] | None, answers: Sequence[np.ndarray], crops: Sequence[Crop]
) -> Facts:
    """Facts about a photograph.

    Args:
        label: its labels, H x W.
        classes: number of classes.
        answers: the network's answers to its crops, C x h x w logits each.
    """
    size = (label.shape[0], label.shape[1])
    whole, each = confidences(answers, crops, size)
    pixels = np.bincount(label.ravel(), minlength=classes).tolist()
    described = [
        FaceFacts(round(float(face.box[3]), 2), round(float(face.box[3]) / size[0], 4), each.get(number))
        for number, face in enumerate(faces or ())
    ]
    return Facts(whole, tuple(pixels), None if faces is None else tuple(described))


def confidences(
    answers: Sequence[np.ndarray], crops: Sequence[Crop], size: Size
) -> tuple[float | None, dict[int, float]]:
    """Confidence of a photograph of `size`, and of each face by its number: 0 to 1, rounded to four places.

    A face's confidence is the mean, over the pixels of its aligned crop that lie within the photograph, of the largest
    class probability in the network's own answer. Each fourth pixel of each fourth row counts. The photograph's is the
    mean over the pixels of all of its aligned crops. What was parsed as a whole has one crop.
    """
    sums, counts = dict[int, float](), dict[int, int]()
    for answer, crop in zip(answers, crops, strict=True):
        if not crop.wide:
            few = answer[:, ::STEP, ::STEP]
            inside = _inside(crop, size)
            largest = 1 / np.exp(few - few.max(axis=0)).sum(axis=0)
            sums[crop.face], counts[crop.face] = float(largest[inside].sum()), int(np.count_nonzero(inside))
    total = sum(counts.values())
    each = {face: round(found / counts[face], 4) for face, found in sums.items() if counts[face]}
    return (round(sum(sums.values()) / total, 4) if total else None), each


def _inside(crop: Crop, size: Size) -> np.ndarray:
    """Which of the pixels that count lie within the photograph: h/4 x w/4 bool."""
    height, width = crop.image.shape[:2]
    ys, xs = np.mgrid[0:height:STEP, 0:width:STEP]
    there = apply(invert(crop.matrix), np.stack([xs.ravel(), ys.ravel()], axis=1))
    inside = (there > -0.5).all(axis=1) & (there < np.array(size[::-1]) - 0.5).all(axis=1)
    return np.asarray(inside.reshape(xs.shape))


def pack_facts(facts: Facts) -> bytes:
    """JSON of facts, as the ledger keeps them."""
    return _adapter().dump_json(facts)


def unpack_facts(text: bytes) -> Facts:
    """Facts that the ledger has kept.

    Raises:
        ValueError: it is not what `pack_facts` wrote.
    """
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        raise ValueError(explain(error)) from None


@cache
def _adapter() -> TypeAdapter[Facts]:
    return TypeAdapter(Facts)
