"""Parses photographs and saves what was asked for. Threads encode and write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.faces.crops import paste, settle
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.images.overlay import with_transparency
from faceparse.core.machine.parallel import Track, map_threads, untracked
from faceparse.core.parser.inference import Parser, PendingArray
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.parsed_photographs import Broken, Photograph, file_threads, parsed_photographs
from faceparse.core.prediction.prediction_ledger import Entry, Ledger
from faceparse.core.prediction.probabilities import save_probabilities
from faceparse.core.prediction.saving import Outputs
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
class _Saved:
    source: Source
    entry: Entry


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

    What is one file of all photographs is not written, but what it says about each is noted.

    Raises:
        OutputError: something cannot be written.
    """
    done, faceless, broken, notices = 0, list[str](), list[str](), list[str]()
    parsed = parsed_photographs(parser, sources, finder=finder, geometry=geometry, batch_size=batch_size)
    describers = tool_describers(outputs)
    saved = map_threads(partial(_save, outputs, describers), parsed, file_threads(), ahead=2 * batch_size)
    for one in track(saved, len(sources), "predict"):
        ledger.note(one.source.name, one.entry)
        if one.entry.problem:
            broken.append(one.entry.problem)
            continue
        done += 1
        if one.entry.faces == 0:
            faceless.append(one.source.where)
        if one.entry.notice:
            notices.append(f"{one.source.where}: {one.entry.notice}")
    return PhotographsReport(done, faceless, broken, notices)


def _save(
    outputs: Outputs, describers: Mapping[str, ToolFile], parsed: tuple[Photograph | Broken, list[PendingArray]]
) -> _Saved:
    photo, answers = parsed
    if isinstance(photo, Broken):
        return _Saved(photo.source, Entry(photo.source.path, photo.stamp, photo.problem))
    source, picture, size = photo.source, photo.picture, photo.picture.size
    settled = settle([one() for one in answers], photo.crops)
    found = paste(settled, photo.crops, size, clear=picture.clear)
    outputs.save_picture(source.name, picture, found, photo.crops)
    if "alpha" in outputs.kinds:
        probabilities = [softmax(answer) for answer in settled]
        mask = matte(picture.image, probabilities, photo.crops, found.owner, outputs.shown)
        outputs.save_alpha(source.name, with_transparency(mask, picture.own))
    outputs.save_instances(source.name, found.owner)
    outputs.save_labelme(source.name, source.where, found)
    if "probabilities" in outputs.kinds:
        path = outputs.path("probabilities", source.name, ".npy")
        save_probabilities(path, settled, photo.crops, size, len(outputs.label_set), clear=picture.clear)
    for crop, answer in zip(photo.crops, settled, strict=True):
        if not crop.wide:
            outputs.save_crop(source.name, crop.face, crop, answer)
    if "json" in outputs.kinds:
        pixels = np.bincount(found.label.ravel(), minlength=len(outputs.label_set))
        faces = {} if photo.faces is None else {"faces": [face.describe() for face in photo.faces]}
        outputs.save_json(
            source.name, outputs.describe(source.where, size) | {"classes": outputs.areas(pixels)} | faces
        )
    number = None if photo.faces is None else len(photo.faces)
    described = {kind: one.describe(found.label, found.owner) for kind, one in describers.items()}
    return _Saved(source, Entry(source.path, photo.stamp, "", size, number, picture.notice, described))
