"""Parses photographs. Threads read them, the caller's thread parses, threads encode and write."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from faceparse.core.errors import FaceparseError
from faceparse.core.faces.crops import Crop, crop_picture, paste, settle
from faceparse.core.faces.face import Face, Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.crop import Fit
from faceparse.core.images.read_photograph import Picture, decode_picture
from faceparse.core.machine.parallel import Track, default_processes, map_threads, untracked
from faceparse.core.parser.inference import Parser, PendingArray, copy_to_host
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.prediction.coco import annotations, coco_file
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.saving import Outputs


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
class _Photograph:
    source: Source
    picture: Picture
    faces: list[Face] | None
    crops: list[Crop]


@dataclass(frozen=True)
class _Broken:
    problem: str
    crops: tuple[Crop, ...] = ()


@dataclass(frozen=True)
class _Saved:
    source: Source
    size: tuple[int, int]
    notice: str
    faces: int | None
    annotations: list[dict[str, Any]]


def predict_photographs(
    parser: Parser,
    sources: Sequence[Source],
    outputs: Outputs,
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    batch_size: int = 4,
    track: Track = untracked,
) -> PhotographsReport:
    """Parse photographs and save the `outputs` of each. About five batches are in memory at a time.

    Raises:
        OutputError: something cannot be written.
    """
    done, faceless, broken, notices = 0, list[str](), list[str](), list[str]()
    threads = min(default_processes(), 8)
    read = partial(_read, finder=finder, size=parser.input_size, geometry=geometry, fit=parser.fit)
    photographs = map_threads(read, sources, threads, ahead=2 * batch_size)
    parsed = (
        (photo, [copy_to_host(one) for one in logits])
        for photo, logits in batch_logits(parser, photographs, batch_size)
    )
    saved = map_threads(partial(_save, outputs), parsed, threads, ahead=2 * batch_size)
    coco = coco_file(outputs.folder / "coco.json", outputs.label_set) if "coco" in outputs.kinds else nullcontext()
    with coco as instances:
        for one in track(saved, len(sources), "predict"):
            if isinstance(one, _Broken):
                broken.append(one.problem)
                continue
            done += 1
            if one.faces == 0:
                faceless.append(one.source.where)
            if one.notice:
                notices.append(f"{one.source.where}: {one.notice}")
            if instances is not None:
                instances.add(one.source.where, *one.size, one.annotations)
    return PhotographsReport(done, faceless, broken, notices)


def _read(
    source: Source, *, finder: Finder | None, size: tuple[int, int], geometry: FaceGeometry | None, fit: Fit
) -> _Photograph | _Broken:
    try:
        picture = decode_picture(source.bytes(), source.where)
        faces = finder(source.where, picture.image) if finder else None
    except FaceparseError as error:  # one broken photograph must not stop the others
        return _Broken(str(error))
    return _Photograph(source, picture, faces, crop_picture(picture.image, faces, size, geometry, fit))


def _save(outputs: Outputs, parsed: tuple[_Photograph | _Broken, list[PendingArray]]) -> _Saved | _Broken:
    photo, answers = parsed
    if isinstance(photo, _Broken):
        return photo
    source, picture, size = photo.source, photo.picture, photo.picture.size
    settled = settle([one() for one in answers], photo.crops)
    found = paste(settled, photo.crops, size, clear=picture.clear)
    outputs.save_picture(source.name, picture, found.label)
    outputs.save_instances(source.name, found.owner)
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
    return _Saved(source, size, picture.notice, number, annotations(found) if "coco" in outputs.kinds else [])
