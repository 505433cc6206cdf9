"""Prepare one photograph of a raw dataset: write its files in the canonical layout."""

from functools import partial
from pathlib import Path

import numpy as np

from faceparse.core.datasets.orientation import is_drawn_as_stored
from faceparse.core.datasets.prepare_record import Outcome
from faceparse.core.datasets.source import Item, Raw, Source
from faceparse.core.errors import DatasetError, FaceparseError, OutputError
from faceparse.core.faces.alignment import Alignment, UnusablePointsError, align, alignment_matrix, harden, label_points
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.matrices import encode_matrix
from faceparse.core.images.warp import warp_label
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.labels.label_set import unknown_values


def prepare_photograph(source: Source, out: Path, alignment: Alignment | None, stamped: tuple[Item, str]) -> Outcome:
    """Write one photograph's files, in any process.

    Args:
        stamped: the photograph, and the hash that tells later whether its source files changed.

    Raises:
        OutputError: the files cannot be written. Any other error makes a broken outcome.
    """
    item, stamp = stamped
    begun = outcome = partial(Outcome, item.id, item.split, stamp, group=item.group)
    if item.problem:
        return outcome("broken", item.problem)
    try:
        raw = source.load(item)
        _validate(raw, item, len(source.label_set))
        counts = np.bincount(harden(raw.label).ravel(), minlength=256)
        pixels = (*counts[: len(source.label_set)].tolist(), int(counts[IGNORE]))
        outcome = partial(outcome, reading=item.reading, turned=raw.orientation != 1, pixels=pixels, notice=raw.notice)
        outcome = partial(outcome, overlapping=raw.overlapping, merged=dict(raw.merged))
        if raw.label.ndim == 2:
            outcome = partial(outcome, stored=is_drawn_as_stored(raw.image, raw.label, raw.orientation))
        if alignment is None:
            return _write_as_it_is(out, item, raw, outcome("kept"))
        try:
            matrix = _matrix(source, item, raw, alignment)
        except UnusablePointsError as error:
            if alignment.on_missing == "fail":
                raise DatasetError(f"{item.id}: cannot be aligned, {error}; see --on-missing") from None
            if alignment.on_missing == "skip":
                return outcome("skipped", str(error))
            return _write_as_it_is(out, item, raw, outcome("unaligned", str(error)))
    except OutputError:
        raise
    except FaceparseError as error:
        return begun("broken", str(error))
    aligned = align(raw.image, raw.label, matrix, alignment.size)
    truth = harden(raw.label)
    _write_image(out, item, encode_jpeg(aligned.image))
    _write_label(out / "labels", item, aligned.label)
    _write_label(out / "labels_raw", item, truth)
    write_atomic(out / "project" / f"{item.id}.npy", encode_matrix(aligned.project))
    back = warp_label(aligned.label, aligned.project, (truth.shape[0], truth.shape[1]), border=0)
    counts = confusion_counts(truth, back, len(source.label_set))
    columns = np.stack([counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)], axis=1)
    return outcome("aligned", ceiling=tuple(map(tuple, columns.tolist())))


def points_come_from_labels(source: Source, alignment: Alignment) -> bool:
    """Whether the five points come from the label map."""
    return alignment.method == "labels" or (alignment.method == "auto" and not source.has_landmarks)


def _matrix(source: Source, item: Item, raw: Raw, alignment: Alignment) -> np.ndarray:
    """2 x 3 matrix, original -> aligned. Raises UnusablePointsError without usable points."""
    if points_come_from_labels(source, alignment):
        points: np.ndarray | None = label_points(harden(raw.label), source.label_set)
    else:
        points = source.points(item)
    if points is None:
        raise UnusablePointsError("no landmarks")
    return alignment_matrix(points, alignment, (raw.image.shape[0], raw.image.shape[1]))


def _write_as_it_is(out: Path, item: Item, raw: Raw, outcome: Outcome) -> Outcome:
    _write_image(out, item, raw.jpeg or encode_jpeg(raw.image))
    _write_label(out / "labels", item, harden(raw.label))
    return outcome


def _write_image(out: Path, item: Item, jpeg: bytes) -> None:
    write_atomic(out / "images" / f"{item.id}.jpg", jpeg)


def _write_label(folder: Path, item: Item, label: np.ndarray) -> None:
    write_atomic(folder / f"{item.id}.png", encode_png(label))


def _validate(raw: Raw, item: Item, classes: int) -> None:
    where = next((file for file in item.files[1:]), item.id)
    if raw.label.shape[-2:] != raw.image.shape[:2]:
        (h, w), (height, width) = raw.label.shape[-2:], raw.image.shape[:2]
        if raw.orientation > 4 and (h, w) == (width, height):
            raise DatasetError(
                f"{where}: label is {w} x {h}, as its photograph is stored, which EXIF orientation {raw.orientation} "
                f"turns to {width} x {height}; turn the label likewise, or save the photograph upright without EXIF"
            )
        raise DatasetError(f"{where}: label is {w} x {h}, its image {width} x {height}")
    if raw.label.ndim == 3:
        return
    if bad := unknown_values(raw.label, classes):
        raise DatasetError(
            f"{where}: value {bad[0]} is not one of the {classes} classes (0 to {classes - 1}, {IGNORE} ignored); "
            "a label set names all ids of its labels, which --mapping may merge"
        )
