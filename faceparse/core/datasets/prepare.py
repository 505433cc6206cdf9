"""Prepare a raw dataset in the canonical layout, in several processes. A killed run continues where it stopped."""

import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomli_w

from faceparse.core.datasets.archive import identity, unpack
from faceparse.core.datasets.dataset_groups import GROUPS_FILE, write_groups
from faceparse.core.datasets.layout import SPLITS, write_label_set
from faceparse.core.datasets.orientation import drawn_as_stored
from faceparse.core.datasets.prepare_photograph import points_come_from_labels, prepare_photograph
from faceparse.core.datasets.prepare_record import (
    JOURNAL,
    MANIFEST,
    RECORD,
    Outcome,
    files_of,
    groups_of,
    is_fresh,
    is_listed,
    is_whole,
    read_outcomes,
    stamp_of,
)
from faceparse.core.datasets.prepare_report import PrepareReport, report_of
from faceparse.core.datasets.shard_index import INDEX
from faceparse.core.datasets.source import Item, Source
from faceparse.core.errors import DatasetError, FaceparseError, OutputError, ProblemsError, SettingsError
from faceparse.core.faces.alignment import Alignment
from faceparse.core.files.folder_lock import only_process
from faceparse.core.files.writing import append_line, write_atomic
from faceparse.core.machine.parallel import Track, map_files, untracked


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

        prepare(Synthetic(count=20), Path("dataset/synthetic"))

    Every photograph's files are written whole and then noted in a journal. A noted photograph is not touched again
    unless its source files change. The lists are written last. A refusal leaves nothing but finished photographs.

    Args:
        alignment: None leaves every photograph as it is.
        archive: zip or tar that holds the source. It is unpacked to `unpacked_folder(out)`, which the source reads.

    Raises:
        DatasetError: the source cannot be read; a `ProblemsError` has a line for each broken photograph.
        OutputError: `out` cannot be written, holds something else, or another process is preparing it.
    """
    with only_process(out):
        return _prepare(source, out, alignment, archive, processes, track)


def _prepare(
    source: Source,
    out: Path,
    alignment: Alignment | None,
    archive: Path | None,
    processes: int,
    track: Track,
) -> PrepareReport:
    described = describe(source, alignment, archive)
    _refuse_foreign(out, described)
    try:
        return _prepare_described(source, out, described, alignment, archive, processes, track)
    except FaceparseError as error:
        if not read_outcomes(out / RECORD) and not read_outcomes(out / JOURNAL):
            (out / MANIFEST).unlink(missing_ok=True)
            if isinstance(error, (DatasetError, SettingsError)):  # a full disk is no reason to unpack it again
                shutil.rmtree(unpacked_folder(out), ignore_errors=True)
        raise


def describe(source: Source, alignment: Alignment | None, archive: Path | None) -> dict[str, Any]:
    """The source and the options that a folder is made with: the content of its `MANIFEST`."""
    described = {**source.describe(), **(alignment.describe() if alignment else {})}
    if archive is not None:
        described |= {"raw": str(archive.resolve()), "archive": identity(archive)}
    return described


def _prepare_described(
    source: Source,
    out: Path,
    described: dict[str, Any],
    alignment: Alignment | None,
    archive: Path | None,
    processes: int,
    track: Track,
) -> PrepareReport:
    finished, begun = read_outcomes(out / RECORD), read_outcomes(out / JOURNAL)
    known = finished and (source.on_broken == "skip" or all(one.status != "broken" for one in finished.values()))
    if archive is not None and known and is_whole(out, finished.values()):
        return report_of(finished, 0, source.label_set, alignment)  # up to date: the archive need not be unpacked
    if archive is not None:
        unpack(archive, unpacked_folder(out), track, known=described["archive"])
    items = sorted(source.items(), key=lambda item: item.id)
    _refuse_same_ids(items)
    _refuse_impossible(source, alignment)
    write_atomic(out / MANIFEST, tomli_w.dumps(described).encode())
    noted = finished | begun
    if begun:  # a line that a kill cut short must not swallow the next
        write_atomic(out / JOURNAL, "".join(outcome.line() + "\n" for outcome in begun.values()).encode())
    items = _keep_splits(items, finished)
    stamps = {item.id: stamp_of(item) for item in items}
    outcomes = {
        item.id: replace(noted[item.id], split=item.split, group=item.group)
        for item in items
        if is_fresh(out, noted.get(item.id), stamps[item.id])
        and (source.on_broken == "skip" or noted[item.id].status != "broken")
    }
    todo = [item for item in items if item.id not in outcomes]
    if todo or begun or outcomes != noted or source.problems() or not is_whole(out, finished.values()):
        _prepare_all(source, out, alignment, todo, stamps, outcomes, processes, track)
        _refuse_stored(outcomes.values())
        _finish(source, out, outcomes, bool(groups_of(finished.values())))
    notes = [*source.notes(), *_emptied(items, outcomes)]  # while an archive is still unpacked
    if archive is not None:
        shutil.rmtree(unpacked_folder(out), ignore_errors=True)
    return report_of(outcomes, len(todo), source.label_set, alignment, notes, source.problems())


def unpacked_folder(out: Path) -> Path:
    """Folder into which an archive is unpacked while `out` is prepared from it."""
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
    """Prepare the photographs of `todo`; add them to `outcomes` and to the journal.

    Raises:
        ProblemsError: some photographs are broken, or the source has other problems; all others are done.
    """
    broken: list[str] = []
    work = partial(prepare_photograph, source, out, alignment)
    stamped = [(item, stamps[item.id]) for item in todo]
    for outcome in track(map_files(work, stamped, processes), len(todo), "prepare"):
        if outcome.status != "broken":
            append_line(out / JOURNAL, outcome.line())
            outcomes[outcome.id] = outcome
        elif source.on_broken == "skip":
            outcomes[outcome.id] = outcome
        else:
            broken.append(outcome.reason)
    listed = any(map(is_listed, outcomes.values()))
    if source.on_broken == "skip" and listed:
        return
    hint = "; --on-broken skip leaves them out" if source.on_broken == "fail" and listed else ""
    others = source.problems() if source.on_broken else ()
    if others:
        number = len(broken) + len(others)
        raise ProblemsError(f"{number} problem{'s' * (number != 1)}", (*broken, *others), hint)
    if broken:
        raise ProblemsError(f"{len(broken)} of {len(stamps)} could not be prepared", tuple(broken), hint)
    if not listed:
        raise ProblemsError("every photograph would be left out", tuple(one.reason for one in outcomes.values()))


def _keep_splits(items: Sequence[Item], finished: Mapping[str, Outcome]) -> list[Item]:
    """The items, in the splits that their groups have in a finished folder: what is added moves none of them."""
    known = defaultdict[tuple[str, str], set[str]](set)
    for item in items:
        if item.drawn and item.id in finished and is_listed(finished[item.id]):
            known[_unit(item)].add(finished[item.id].split)
    kept = {unit: splits.pop() for unit, splits in known.items() if len(splits) == 1}
    return [replace(item, split=kept.get(_unit(item), item.split)) if item.drawn else item for item in items]


def _unit(item: Item) -> tuple[str, str]:
    """Group of a photograph, or the photograph itself where it stands alone."""
    return (item.group, "") if item.group else ("", item.id)


def _emptied(items: Sequence[Item], outcomes: Mapping[str, Outcome]) -> list[str]:
    """Notes on splits of which every photograph was left out."""
    left = {outcome.split for outcome in outcomes.values() if is_listed(outcome)}
    return [
        f"{split} is empty, since all of its photographs were left out; add photographs or choose another --seed"
        for split in SPLITS
        if split not in left and any(item.split == split for item in items)
    ]


def _refuse_stored(outcomes: Collection[Outcome]) -> None:
    stored = [one.id for one in outcomes if one.stored]
    if problem := drawn_as_stored(sum(one.turned for one in outcomes), len(stored)):
        raise DatasetError(f"{min(stored)}: {problem}")


def _finish(source: Source, out: Path, outcomes: dict[str, Outcome], had_groups: bool) -> None:
    """Write lists, label set, groups and record, after every photograph is done.

    Without groups, groups.csv may be the user's and stays, unless an earlier run wrote it (`had_groups`).
    """
    write_label_set(out, source.label_set)
    ordered = [outcomes[key] for key in sorted(outcomes)]
    for split in SPLITS:
        lines = [f"images/{o.id}.jpg labels/{o.id}.png\n" for o in ordered if o.split == split and is_listed(o)]
        if lines:
            write_atomic(out / f"{split}_list.txt", "".join(lines).encode())
        else:  # its photographs are gone from the source
            (out / f"{split}_list.txt").unlink(missing_ok=True)
    if groups := groups_of(ordered):
        write_groups(out, groups)
    elif had_groups:
        (out / GROUPS_FILE).unlink(missing_ok=True)
    write_atomic(out / RECORD, "".join(outcome.line() + "\n" for outcome in ordered).encode())
    (out / JOURNAL).unlink(missing_ok=True)


def _refuse_impossible(source: Source, alignment: Alignment | None) -> None:
    if alignment is None:
        return
    if alignment.method == "landmarks" and not source.has_landmarks:
        raise SettingsError("--align landmarks: this source has no landmark files; use --align labels or none")
    if points_come_from_labels(source, alignment) and not source.label_set.landmarks:
        raise SettingsError(
            f"--align labels: label set {source.label_set.name!r} does not say where the five points are; give it "
            "[landmarks] with eyes, nose and mouth"
        )


def _refuse_foreign(out: Path, described: dict[str, Any]) -> None:
    """Raise OutputError if `out` holds another dataset, or one from another source or with other options."""
    if (out / INDEX).is_file():
        raise OutputError(f"{out}: holds a dataset in shards; choose another folder")
    manifest, lists = out / MANIFEST, [out / f"{split}_list.txt" for split in SPLITS]
    if manifest.is_file():
        if manifest.read_bytes() == tomli_w.dumps(described).encode():
            return
        if any(path.exists() for path in lists):
            raise OutputError(
                f"{out}: was prepared from another source or with other options (see {manifest.name}); "
                "choose another folder"
            )
        _forget(out)  # unfinished, and from another source: start again
    elif any(path.exists() for path in (out / "images", out / "labels", *lists)):
        raise OutputError(
            f"{out}: already holds a dataset that 'faceparse prepare' did not write; choose another folder"
        )


def _forget(out: Path) -> None:
    """Remove the files of an earlier run that never ended, so that they do not mix with the new ones."""
    for outcome in read_outcomes(out / JOURNAL).values():
        for name in files_of(outcome):
            (out / name).unlink(missing_ok=True)
    (out / JOURNAL).unlink(missing_ok=True)


def _refuse_same_ids(items: Sequence[Item]) -> None:
    if not items:
        raise DatasetError("the source holds no photographs")
    for one, other in pairwise(items):
        if one.id == other.id:
            where = " and ".join(str(item.files[0]) for item in (one, other) if item.files)
            raise DatasetError(f"{where or one.id}: two photographs would both be named {one.id!r}; rename one")
