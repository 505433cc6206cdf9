"""Raw dataset -> canonical layout, in processes, resumable: a killed run goes on where it stopped.

Every photograph's files are written whole and then noted in a journal; one that is noted, and whose source files have
not changed since, is not touched again. The lists come last.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tomli_w

from faceparse.core.datasets.archive import identity, unpack
from faceparse.core.datasets.coverage import coverage_notes
from faceparse.core.datasets.layout import SPLITS, write_label_set
from faceparse.core.datasets.orientation import drawn_as_stored, is_drawn_as_stored
from faceparse.core.datasets.source import Item, Raw, Source
from faceparse.core.errors import DatasetError, FaceparseError, OutputError, SettingsError
from faceparse.core.faces.alignment import (
    Alignment,
    UnusablePointsError,
    align,
    alignment_matrix,
    harden,
    label_points,
)
from faceparse.core.files.writing import append_line, make_folder, write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.matrices import encode_matrix
from faceparse.core.images.warp import warp_label
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.labels.label_set import IGNORE, LabelSet, unknown_values
from faceparse.core.machine.parallel import Track, map_files, untracked
from faceparse.core.text.toml_json import parse_json_as

MANIFEST = "prepared.toml"
"""What the folder was made from, and with which options."""
RECORD = "prepared.jsonl"
"""One line for each photograph, in the order of ids; written once all are done."""
JOURNAL = ".prepared.jsonl"
"""The same lines in the order in which they were done."""

Status = Literal["kept", "aligned", "unaligned", "skipped", "broken"]


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph: a line of the record."""

    id: str
    split: str
    source: str
    """Hash of the names, sizes and dates of its source files."""
    status: Status
    """kept: not meant to be aligned; unaligned and skipped: without usable points."""
    reason: str = ""
    ceiling: tuple[tuple[int, int, int], ...] = ()
    """For each class the pixels of intersection, of truth and of its way to the aligned image and back."""
    reading: str = ""
    """As the item's."""
    turned: bool = False
    """Whether the image was turned upright, as its EXIF orientation says."""
    stored: bool = False
    """Whether the label fits better as the image is stored, before that turn."""
    notice: str = ""
    """What should be known of the image's file."""
    pixels: tuple[int, ...] = ()
    """Of each class, then of those that are ignored."""

    def line(self) -> str:
        return json.dumps(vars(self))


@dataclass(frozen=True)
class PrepareReport:
    splits: dict[str, int]
    """Split -> photographs."""
    done: int
    """Photographs prepared now; the others were up to date."""
    without_points: tuple[Outcome, ...] = ()
    """Photographs that could not be aligned."""
    ceiling: dict[str, float] | None = None
    """Class -> F1 of the label against itself after the way to the aligned image and back; None without alignment."""
    ceiling_split: str = "test"
    notices: tuple[str, ...] = ()
    """What should be known of the labels and photographs, one line each."""


def prepare(
    source: Source,
    out: Path,
    *,
    alignment: Alignment | None = None,
    archive: Path | None = None,
    processes: int = 1,
    track: Track = untracked,
) -> PrepareReport:
    """Write `source` to `out` in the canonical layout.

    Args:
        alignment: None leaves every photograph as it is.
        archive: zip or tar that holds the source; it is unpacked to `unpacked_folder(out)`, where the source looks.

    Raises:
        DatasetError: the source cannot be read; all broken photographs are named in one message.
        OutputError: `out` cannot be written, or holds something else.
    """
    described = {**source.describe(), **(alignment.describe() if alignment else {})}
    known = identity(archive) if archive is not None else None
    if archive is not None:
        described |= {"raw": str(archive.resolve()), "archive": known}
    _refuse_foreign(out, described)
    finished, begun = _read_outcomes(out / RECORD), _read_outcomes(out / JOURNAL)
    if archive is not None and finished and _is_whole(out, finished.values()):
        return _report(finished, 0, source.label_set, alignment)  # not even unpacked
    if archive is not None:
        unpack(archive, unpacked_folder(out), track, known=known)
    items = sorted(source.items(), key=lambda item: item.id)
    _refuse_same_ids(items)
    _refuse_impossible(source, alignment)
    make_folder(out)
    write_atomic(out / MANIFEST, tomli_w.dumps(described).encode())
    noted = finished | begun
    if begun:  # a line that a kill cut short must not swallow the next
        write_atomic(out / JOURNAL, "".join(outcome.line() + "\n" for outcome in begun.values()).encode())
    stamps = {item.id: _stamp(item.files, item.reading) for item in items}
    outcomes = {item.id: noted[item.id] for item in items if _is_fresh(out, noted.get(item.id), stamps[item.id])}
    todo = [item for item in items if item.id not in outcomes]
    if todo or begun or len(outcomes) < len(noted) or not _is_whole(out, finished.values()):
        _prepare_all(source, out, alignment, todo, stamps, outcomes, processes, track)
        _refuse_stored(outcomes.values())
        _finish(source, out, outcomes)
    if archive is not None:
        shutil.rmtree(unpacked_folder(out), ignore_errors=True)
    return _report(outcomes, len(todo), source.label_set, alignment)


def unpacked_folder(out: Path) -> Path:
    return out / ".unpacked"


def _prepare_all(
    source: Source,
    out: Path,
    alignment: Alignment | None,
    todo: Sequence[Item],
    stamps: dict[str, str],
    outcomes: dict[str, Outcome],
    processes: int,
    track: Track,
) -> None:
    """Prepare what is left to do, adding to `outcomes` and to the journal.

    Raises:
        DatasetError: some are broken; all others are done.
    """
    broken: list[Outcome] = []
    work = partial(_prepare_one, source, out, alignment)
    stamped = [(item, stamps[item.id]) for item in todo]
    for outcome in track(map_files(work, stamped, processes), len(todo), "prepare"):
        if outcome.status == "broken":
            broken.append(outcome)
        else:
            append_line(out / JOURNAL, outcome.line())
            outcomes[outcome.id] = outcome
    if broken:
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        reasons = "; ".join(one.reason for one in broken[:10])
        raise DatasetError(f"{len(broken)} of {len(stamps)} could not be prepared: {reasons}{more}")


def _refuse_stored(outcomes: Collection[Outcome]) -> None:
    stored = [one.id for one in outcomes if one.stored]
    if problem := drawn_as_stored(sum(one.turned for one in outcomes), len(stored)):
        raise DatasetError(f"{min(stored)}: {problem}")


def _finish(source: Source, out: Path, outcomes: dict[str, Outcome]) -> None:
    """Lists, label set and record, now that every photograph is done."""
    write_label_set(out, source.label_set)
    ordered = [outcomes[key] for key in sorted(outcomes)]
    for split in SPLITS:
        lines = [f"images/{o.id}.jpg labels/{o.id}.png\n" for o in ordered if o.split == split and _is_listed(o)]
        if lines:
            write_atomic(out / f"{split}_list.txt", "".join(lines).encode())
        else:  # of photographs that are gone from the source
            (out / f"{split}_list.txt").unlink(missing_ok=True)
    write_atomic(out / RECORD, "".join(outcome.line() + "\n" for outcome in ordered).encode())
    (out / JOURNAL).unlink(missing_ok=True)


def _report(outcomes: dict[str, Outcome], done: int, label_set: LabelSet, alignment: Alignment | None) -> PrepareReport:
    every = [outcomes[key] for key in sorted(outcomes)]
    counts = {split: sum(o.split == split and _is_listed(o) for o in every) for split in SPLITS}
    # Scores are counted on test: that is where the ceiling matters.
    split = "test" if counts["test"] else "train"
    counted = [o.ceiling for o in every if o.split == split and o.status == "aligned"]
    ceiling = None
    if alignment is not None and counted:
        sums = np.array(counted, np.int64).sum(axis=0)
        ceiling = {
            name: 2 * int(hits) / int(truth + found)
            for name, (hits, truth, found) in zip(label_set.names, sums, strict=True)
            if truth
        }
    return PrepareReport(
        splits={split: count for split, count in counts.items() if count},
        done=done,
        without_points=tuple(o for o in every if o.status in ("unaligned", "skipped")),
        ceiling=ceiling,
        ceiling_split=split,
        notices=tuple(_notices(every, label_set)),
    )


def _notices(outcomes: Sequence[Outcome], label_set: LabelSet) -> list[str]:
    notices = [
        f"{count} label{'s' * (count != 1)}: values are no ids but colours, {reading}"
        for reading, count in Counter(one.reading for one in outcomes if one.reading).items()
    ]
    if noticed := [one for one in outcomes if one.notice]:
        more = f"; and so on, {len(noticed)} in all" if len(noticed) > 1 else ""
        notices.append(f"{noticed[0].id}: {noticed[0].notice}{more}")
    if turned := sum(one.turned for one in outcomes):
        notices.append(
            f"{turned} of {len(outcomes)} photographs are turned upright by their EXIF orientation, and "
            f"{turned - sum(one.stored for one in outcomes)} of their labels seem to fit them so: look at them with "
            "'faceparse check --report'"
        )
    if counted := [one.pixels for one in outcomes if one.pixels]:
        *pixels, ignored = np.array(counted).sum(axis=0).tolist()
        notices += coverage_notes(label_set, pixels, ignored)
    return notices


# One photograph, in a process of its own.


def _prepare_one(source: Source, out: Path, alignment: Alignment | None, stamped: tuple[Item, str]) -> Outcome:
    item, stamp = stamped
    outcome = partial(Outcome, item.id, item.split, stamp)
    try:
        raw = source.load(item)
        _validate(raw, item, len(source.label_set))
        counts = np.bincount(harden(raw.label).ravel(), minlength=256)
        pixels = (*counts[: len(source.label_set)].tolist(), int(counts[IGNORE]))
        outcome = partial(outcome, reading=item.reading, turned=raw.orientation != 1, pixels=pixels, notice=raw.notice)
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
        return outcome("broken", str(error))
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


def _matrix(source: Source, item: Item, raw: Raw, alignment: Alignment) -> np.ndarray:
    """2 x 3, original -> aligned; raises UnusablePointsError."""
    if _by_labels(source, alignment):
        points: np.ndarray | None = label_points(harden(raw.label), source.label_set)
    else:
        points = source.points(item)
    if points is None:
        raise UnusablePointsError("no landmarks")
    return alignment_matrix(points, alignment, (raw.image.shape[0], raw.image.shape[1]))


def _by_labels(source: Source, alignment: Alignment) -> bool:
    """Whether the points come from the label map."""
    return alignment.method == "labels" or (alignment.method == "auto" and not source.has_landmarks)


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
            "a label set names all ids of its labels, of which [merged] scores several as one"
        )


# What is there already.


def _refuse_impossible(source: Source, alignment: Alignment | None) -> None:
    if alignment is None:
        return
    if alignment.method == "landmarks" and not source.has_landmarks:
        raise SettingsError("--align landmarks: this source has no landmark files; use --align labels or none")
    if _by_labels(source, alignment) and not source.label_set.landmarks:
        raise SettingsError(
            f"--align labels: label set {source.label_set.name!r} does not say where the five points are; give it "
            "[landmarks] with eyes, nose and mouth"
        )


def _refuse_foreign(out: Path, described: dict[str, Any]) -> None:
    """Raise where `out` is somebody else's, or was made from something else."""
    manifest, lists = out / MANIFEST, [out / f"{split}_list.txt" for split in SPLITS]
    if manifest.is_file():
        if manifest.read_bytes() == tomli_w.dumps(described).encode():
            return
        if any(path.exists() for path in lists):
            raise OutputError(
                f"{out}: was prepared from another source or with other options (see {manifest.name}); "
                "choose another folder"
            )
        _forget(out)  # unfinished, and of something else: it is begun anew
    elif any(path.exists() for path in (out / "images", out / "labels", *lists)):
        raise OutputError(
            f"{out}: already holds a dataset that 'faceparse prepare' did not write; choose another folder"
        )


def _forget(out: Path) -> None:
    """Remove what an earlier start that never ended has done, so that nothing of it is mixed into what comes now."""
    for outcome in _read_outcomes(out / JOURNAL).values():
        for name in _files(outcome):
            (out / name).unlink(missing_ok=True)
    (out / JOURNAL).unlink(missing_ok=True)


def _refuse_same_ids(items: Sequence[Item]) -> None:
    if not items:
        raise DatasetError("the source holds no photographs")
    for one, other in pairwise(items):
        if one.id == other.id:
            where = " and ".join(str(item.files[0]) for item in (one, other) if item.files)
            raise DatasetError(f"{where or one.id}: two photographs would both be named {one.id!r}; rename one")


def _read_outcomes(path: Path) -> dict[str, Outcome]:
    """Outcomes by id. Skips lines that are damaged, such as the last of a process that was killed: what they told of is
    prepared again.
    """
    if not path.is_file():
        return {}
    found: dict[str, Outcome] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError, DatasetError):
            outcome = parse_json_as(Outcome, line)
            Item(outcome.id, outcome.split)  # an id that leads out of the folder is refused
            found[outcome.id] = outcome
    return found


def _is_fresh(out: Path, outcome: Outcome | None, stamp: str) -> bool:
    return outcome is not None and outcome.source == stamp and _files_exist(out, outcome)


def _files(outcome: Outcome) -> list[str]:
    """What a photograph's preparation leaves, relative to the dataset folder."""
    names = [f"images/{outcome.id}.jpg", f"labels/{outcome.id}.png"] if _is_listed(outcome) else []
    if outcome.status == "aligned":
        names += [f"labels_raw/{outcome.id}.png", f"project/{outcome.id}.npy"]
    return names


def _files_exist(out: Path, outcome: Outcome) -> bool:
    return all((out / name).is_file() for name in _files(outcome))


def _is_whole(out: Path, outcomes: Iterable[Outcome]) -> bool:
    """Whether a finished folder still has all that it is made of."""
    splits = {outcome.split for outcome in outcomes if _is_listed(outcome)}
    return bool(splits) and (
        all((out / f"{split}_list.txt").is_file() for split in splits)
        and all(_files_exist(out, outcome) for outcome in outcomes)
    )


def _is_listed(outcome: Outcome) -> bool:
    return outcome.status != "skipped"


def _stamp(files: Sequence[Path], reading: str = "") -> str:
    """Hash of names, sizes and dates; a file that is not there counts as such."""
    digest = hashlib.sha256(reading.encode())
    for file in files:
        digest.update(os.fsencode(file.name))
        try:
            stat = file.stat()
            digest.update(f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b" missing\n")
    return digest.hexdigest()[:16]
