"""Reads photographs, and saves what was asked for of each. What happens in between is in `parsed_photographs.py`.

Nothing here needs PyTorch: many processes may read and save.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from faceparse.core.errors import FaceparseError
from faceparse.core.faces.crops import PictureLabels
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.images.overlay import with_transparency
from faceparse.core.images.read_photograph import decode_picture
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.output_parts import row_of
from faceparse.core.prediction.photograph_facts import Facts
from faceparse.core.prediction.photograph_states import Broken, Decoded, Parsed, Photograph, Saved
from faceparse.core.prediction.prediction_ledger import Entry
from faceparse.core.prediction.probabilities import save_probabilities
from faceparse.core.prediction.saving import FILES, Outputs
from faceparse.core.prediction.tool_files import tool_describers


def read_photograph(source: Source) -> Decoded | Broken:
    """Read and decode a photograph."""
    stamp = source.stamp
    try:
        data = source.bytes()
        return Decoded(source, decode_picture(data, source.where), stamp, data)
    except FaceparseError as error:  # one broken photograph must not stop the others
        return Broken(source, str(error), stamp)


def save_photograph(parsed: Parsed | Broken, outputs: Outputs) -> Saved:
    """Write a photograph's files, or make its row of a part.

    Raises:
        OutputError: something cannot be written.
    """
    if isinstance(parsed, Broken):
        return Saved(parsed.source, Entry(parsed.source.path, parsed.stamp, parsed.problem))
    photo, labels, facts = parsed.photo, parsed.labels, parsed.facts
    source, picture = photo.source, photo.picture
    described = {kind: one.describe(labels.label, labels.owner) for kind, one in tool_describers(outputs).items()}
    number = None if photo.faces is None else len(photo.faces)
    entry = Entry(source.path, photo.stamp, "", picture.size, number, picture.notice, described, facts)
    if outputs.to == FILES:
        _save_files(outputs, parsed)
        return Saved(source, entry)
    return Saved(source, entry, row_of(outputs, photo, _describe(outputs, photo, facts), labels.label))


def _save_files(outputs: Outputs, parsed: Parsed) -> None:
    photo, labels, name = parsed.photo, parsed.labels, parsed.photo.source.name
    outputs.save_picture(name, photo.picture, labels, photo.crops)
    outputs.save_instances(name, labels.owner)
    outputs.save_labelme(name, photo.source.where, labels)
    if parsed.answers is not None:
        _save_answers(outputs, photo, labels, parsed.answers)
    if "json" in outputs.kinds:
        outputs.save_json(name, _describe(outputs, photo, parsed.facts))


def _save_answers(outputs: Outputs, photo: Photograph, labels: PictureLabels, answers: Sequence[np.ndarray]) -> None:
    """Save what is made of the network's answers, and not of the labels alone: see `OF_ANSWERS`."""
    name, picture = photo.source.name, photo.picture
    if "alpha" in outputs.kinds:
        probabilities = [softmax(answer) for answer in answers]
        mask = matte(picture.image, probabilities, photo.crops, labels.owner, outputs.shown)
        outputs.save_alpha(name, with_transparency(mask, picture.own))
    if "probabilities" in outputs.kinds:
        path, classes = outputs.path("probabilities", name, ".npy"), len(outputs.label_set)
        save_probabilities(path, answers, photo.crops, picture.size, classes, clear=picture.clear)
    for crop, answer in zip(photo.crops, answers, strict=True):
        if not crop.wide:
            outputs.save_crop(name, crop.face, crop, answer)


def _describe(outputs: Outputs, photo: Photograph, facts: Facts) -> dict[str, Any]:
    """Content of a photograph's JSON."""
    content = outputs.describe(photo.source.where, photo.picture.size)
    content |= {"confidence": facts.confidence, "classes": outputs.areas(np.array(facts.pixels))}
    if photo.faces is None or facts.faces is None:
        return content
    each = zip(photo.faces, facts.faces, strict=True)
    return content | {"faces": [face.describe() | {"confidence": known.confidence} for face, known in each]}
