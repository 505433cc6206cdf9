"""Parses photographs and saves what was asked for. Threads encode and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.faces.crops import PictureLabels, paste, settle
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.images.overlay import with_transparency
from faceparse.core.machine.parallel import Track, map_threads, untracked
from faceparse.core.parser.inference import Parser, PendingArray
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.output_parts import PartWriter, row_of
from faceparse.core.prediction.parsed_photographs import Broken, Photograph, file_threads, parsed_photographs
from faceparse.core.prediction.part_row import PartRow
from faceparse.core.prediction.photograph_facts import Facts, facts_of
from faceparse.core.prediction.prediction_ledger import Entry, Ledger
from faceparse.core.prediction.probabilities import save_probabilities
from faceparse.core.prediction.saving import FILES, Outputs
from faceparse.core.prediction.tool_files import tool_describers


class PhotographsReport(NamedTuple):
    """Result of parsing photographs."""

    done: int
    """Number of photographs that were parsed."""
    faceless: list[str]
    """Photographs that were parsed, but without a face."""
    broken: list[str]
    """One line for each photograph that could not be read."""
    notices: list[str]
    """One line for each photograph that was parsed, but whose file has a peculiarity that users should know."""


@dataclass(frozen=True)
class Saved:
    """A photograph whose outputs are in place, or one that is broken."""

    source: Source
    entry: Entry
    row: PartRow | None = None
    """Its outputs, where they are still to be written into a part."""


def predict_photographs(
    parser: Parser,
    sources: Sequence[Source],
    outputs: Outputs,
    ledger: Ledger,
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    batch_size: int = 4,
    track: Track = untracked,
) -> PhotographsReport:
    """Parse photographs, save the `outputs` of each, then note it. About five batches are in memory at a time.

    With parts, the rows of one are in memory, too. What is one file of all photographs is not written, but what it says
    about each is noted.

    Raises:
        OutputError: something cannot be written.
    """
    done, faceless, broken, notices = 0, list[str](), list[str](), list[str]()
    parsed = parsed_photographs(parser, sources, finder=finder, geometry=geometry, batch_size=batch_size)
    describers = tool_describers(outputs)
    save = partial(save_photograph, outputs, describers)
    saved = map_threads(save, parsed, file_threads(), ahead=2 * batch_size)
    with PartWriter(outputs, ledger) as writer:
        for one in track(saved, len(sources), "predict"):
            writer.note(one.source.name, one.entry, one.row)
            if one.entry.problem:
                broken.append(one.entry.problem)
                continue
            done += 1
            if one.entry.faces == 0:
                faceless.append(one.source.where)
            if one.entry.notice:
                notices.append(f"{one.source.where}: {one.entry.notice}")
    return PhotographsReport(done, faceless, broken, notices)


def save_photograph(
    outputs: Outputs, describers: Mapping[str, ToolFile], parsed: tuple[Photograph | Broken, list[PendingArray]]
) -> Saved:
    """Write a photograph's files, or make its row of a part. Threads call it.

    Raises:
        OutputError: something cannot be written.
    """
    photo, pending = parsed
    if isinstance(photo, Broken):
        return Saved(photo.source, Entry(photo.source.path, photo.stamp, photo.problem))
    source, picture, size = photo.source, photo.picture, photo.picture.size
    answers = [one() for one in pending]
    settled = settle(answers, photo.crops)
    found = paste(settled, photo.crops, size, clear=picture.clear)
    facts = facts_of(found.label, len(outputs.label_set), photo.faces, answers, photo.crops)
    described = {kind: one.describe(found.label, found.owner) for kind, one in describers.items()}
    number = None if photo.faces is None else len(photo.faces)
    entry = Entry(source.path, photo.stamp, "", size, number, picture.notice, described, facts)
    if outputs.to == FILES:
        _save_files(outputs, photo, settled, found, facts)
        return Saved(source, entry)
    content = _describe(outputs, photo, facts)
    return Saved(source, entry, row_of(outputs, photo, content, found.label))


def _save_files(
    outputs: Outputs, photo: Photograph, settled: list[np.ndarray], found: PictureLabels, facts: Facts
) -> None:
    source, picture = photo.source, photo.picture
    outputs.save_picture(source.name, picture, found, photo.crops)
    if "alpha" in outputs.kinds:
        probabilities = [softmax(answer) for answer in settled]
        mask = matte(picture.image, probabilities, photo.crops, found.owner, outputs.shown)
        outputs.save_alpha(source.name, with_transparency(mask, picture.own))
    outputs.save_instances(source.name, found.owner)
    outputs.save_labelme(source.name, source.where, found)
    if "probabilities" in outputs.kinds:
        path, classes = outputs.path("probabilities", source.name, ".npy"), len(outputs.label_set)
        save_probabilities(path, settled, photo.crops, picture.size, classes, clear=picture.clear)
    for crop, answer in zip(photo.crops, settled, strict=True):
        if not crop.wide:
            outputs.save_crop(source.name, crop.face, crop, answer)
    if "json" in outputs.kinds:
        outputs.save_json(source.name, _describe(outputs, photo, facts))


def _describe(outputs: Outputs, photo: Photograph, facts: Facts) -> dict[str, Any]:
    """What the JSON says of a photograph."""
    content = outputs.describe(photo.source.where, photo.picture.size)
    content |= {"confidence": facts.confidence, "classes": outputs.areas(np.array(facts.pixels))}
    if photo.faces is None or facts.faces is None:
        return content
    each = zip(photo.faces, facts.faces, strict=True)
    return content | {"faces": [face.describe() | {"confidence": known.confidence} for face, known in each]}
