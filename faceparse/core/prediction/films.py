"""Parses videos and cameras. One thread decodes, the caller's thread parses, another one draws and encodes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from typing import Any, Protocol, Self

import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.faces.crops import Crop, crop_picture, paste, settle
from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.files.writing import atomic_file
from faceparse.core.images.overlay import overlay
from faceparse.core.images.warp import Size
from faceparse.core.machine.parallel import Track, map_threads, untracked
from faceparse.core.parser.inference import Parser, PendingArray, copy_to_host
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.prediction.saving import Outputs
from faceparse.core.prediction.smoothing import Flicker, Smoother
from faceparse.core.prediction.video import Frame, Sound, VideoWriter


class Film(Protocol):
    """A video or a camera. Enter it, read it once, leave it."""

    where: str
    sound: str | None
    """File that may hold the film's sound; None for a camera."""
    problem: str | None
    """Problem of the film, known after `frames` has ended; None if there was none."""
    total: int | None
    """Number of frames, if it is known beforehand."""
    time_base: Fraction
    """Unit of a frame's time, in seconds."""
    rate: Fraction
    """Frames per second, as a hint."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def frames(self) -> Iterator[Frame]:
        """Yield the film's frames."""


@dataclass(frozen=True)
class FilmReport:
    """Result of parsing a film."""

    where: str
    frames: int
    seconds: float
    """Time that parsing took."""
    faceless: int | None
    """Number of frames without a face; None if faces were not looked for."""
    flicker: float | None
    """Flicker of each frame's own labels; see `Flicker`."""
    smoothed_flicker: float | None
    """Flicker of the smoothed labels; None if nothing was smoothed."""
    problem: str | None
    """Problem of the film, such as damage; None if there was none."""


@dataclass(frozen=True)
class _Cropped:
    frame: Frame
    crops: list[Crop]


@dataclass(frozen=True)
class _Parsed:
    frame: Frame
    crops: list[Crop]
    raw: list[PendingArray]
    smoothed: list[PendingArray]
    """Smoothed probabilities; the same list as `raw` if nothing is smoothed."""


def predict_film(
    parser: Parser,
    film: Film,
    name: str,
    outputs: Outputs,
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    smooth: float = 0.0,
    batch_size: int = 4,
    track: Track = untracked,
) -> FilmReport:
    """Parse a film and save its `outputs` under `name`.

    Overlays become a film with the sound; labels, cut-outs and alpha become one picture per frame.

    Args:
        smooth: the `keep` of `Smoother`.

    Raises:
        DatasetError: the film cannot be read at all.
        OutputError: something cannot be written.
    """
    started = time.monotonic()
    with film, _Saver(film, name, outputs) as saver:
        cropped = _crop_ahead(film.frames(), film.where, finder, geometry, parser, 2 * batch_size)
        parsed = _parse(parser, cropped, Smoother(smooth), batch_size)
        for _ in track(map_threads(saver.save, parsed, 1, ahead=2 * batch_size), film.total, name):
            pass
        if not saver.frames:
            raise DatasetError(f"{film.where}: no frames in it; replace the file")
        saver.finish()
    raw, smoothed = saver.flicker.shares or (None, None)
    report = FilmReport(
        where=film.where,
        frames=saver.frames,
        seconds=time.monotonic() - started,
        faceless=saver.faceless if finder else None,
        flicker=raw,
        smoothed_flicker=smoothed if smooth else None,
        problem=film.problem,
    )
    if "json" in outputs.kinds:
        outputs.save_json(name, _describe(report, saver, outputs, smooth))
    return report


def _describe(report: FilmReport, saver: "_Saver", outputs: Outputs, smooth: float) -> dict[str, Any]:
    return outputs.describe(report.where, saver.size) | {
        "frames": report.frames,
        "frames_without_face": report.faceless,
        "smooth": smooth,
        "flicker": {"raw": report.flicker, "smoothed": report.smoothed_flicker},
        "classes": outputs.areas(saver.pixels),
        "problem": report.problem,
    }


def _crop_ahead(
    frames: Iterator[Frame],
    where: str,
    finder: Finder | None,
    geometry: FaceGeometry | None,
    parser: Parser,
    ahead: int,
) -> Iterator[_Cropped]:
    """Yield frames with their crops, which another thread makes."""

    def step(_: None) -> _Cropped | None:
        frame = next(frames, None)
        if frame is None:
            return None
        faces = finder(where, frame.image) if finder else None
        return _Cropped(frame, crop_picture(frame.image, faces, parser.input_size, geometry, parser.fit))

    for cropped in map_threads(step, repeat(None), 1, ahead=ahead):
        if cropped is None:
            return
        yield cropped


def _parse(parser: Parser, frames: Iterator[_Cropped], smoother: Smoother, batch_size: int) -> Iterator[_Parsed]:
    for cropped, logits in batch_logits(parser, frames, batch_size):
        raw = [copy_to_host(one) for one in logits]
        smoothed = [copy_to_host(one) for one in smoother(cropped.crops, logits)] if smoother.keep else raw
        yield _Parsed(cropped.frame, cropped.crops, raw, smoothed)


class _Saver:
    """Draws and writes frame after frame. Leaving it without an error puts the film in place."""

    def __init__(self, film: Film, name: str, outputs: Outputs) -> None:
        self.frames = self.faceless = 0
        self.size: Size = (0, 0)
        self.flicker = Flicker()
        self.pixels = np.zeros(len(outputs.label_set), np.int64)
        """Number of pixels of each class in all frames."""
        self._film, self._name, self._outputs = film, name, outputs
        self._palette = outputs.label_set.palette()
        self._stack = ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def save(self, parsed: _Parsed) -> None:
        image = parsed.frame.image
        if not self.frames:
            self._start((image.shape[0], image.shape[1]))
        crops, smooth = parsed.crops, parsed.smoothed is not parsed.raw
        pending = [parsed.raw, parsed.smoothed] if smooth else [parsed.raw]
        answers = [settle([one() for one in later], crops) for later in pending]
        pasted = [paste(one, crops, self.size) for one in answers]
        found, label = pasted[-1], pasted[-1].label
        self.flicker.add(image, pasted[0].label, label)
        self.pixels += np.bincount(label.ravel(), minlength=len(self.pixels))
        name = f"{self._name}/{self.frames:06d}"
        self._outputs.save_label(name, label)
        self._outputs.save_cutout(name, image, found, crops)
        if "alpha" in self._outputs.kinds:
            probabilities = answers[-1] if smooth else [softmax(one) for one in answers[-1]]
            self._outputs.save_alpha(name, matte(image, probabilities, crops, found.owner, self._outputs.shown))
        if self._writer is not None:
            self._writer.write(overlay(image, label, self._palette), parsed.frame.time)
        self.frames += 1
        self.faceless += not parsed.crops

    def _start(self, size: Size) -> None:
        self.size = size
        if "overlays" in self._outputs.kinds:
            film = self._film
            sound = self._stack.enter_context(closing(Sound(film.sound)))
            file = self._stack.enter_context(atomic_file(self._outputs.path("overlays", self._name, sound.suffix)))
            self._writer = VideoWriter(file, size, sound, time_base=film.time_base, rate=film.rate)
            self._stack.enter_context(self._writer)

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.finish()
