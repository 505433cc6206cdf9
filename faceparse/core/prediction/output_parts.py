"""Keeps the parts of an output folder, files of many photographs each: writes them, notes them, takes photographs out.

    predictions/parquet/part-0123456789abcdef.parquet               of --to parquet
    predictions/webdataset/part-3-of-16-0123456789abcdef.tar        of --to webdataset --shard 3/16

A photograph is in one part at most, at every moment. So the order is always this: photographs that are parsed again are
taken out of their parts first; the ledger keeps the outputs of the open part; it is put in place whole; then the ledger
notes its rows, all at once. After a process that was killed, the next one puts the open part in place, and removes a
part that no ledger names.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from faceparse.core.annotations.coco import encode_counts
from faceparse.core.annotations.runs_shape import class_lengths
from faceparse.core.errors import OutputError
from faceparse.core.files.flushing import flush_file, flush_folder
from faceparse.core.files.writing import atomic_file, cannot_write, make_folder, refuse_links_out
from faceparse.core.images.palette import encode_palette_png
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.part_parquet import copy_parquet_part, parquet_names, write_parquet_part
from faceparse.core.prediction.part_row import PART_SUFFIXES, Part, PartRow, part_sizes, utf8
from faceparse.core.prediction.part_tar import copy_tar_part, tar_names, write_tar_part
from faceparse.core.prediction.photograph_states import Photograph
from faceparse.core.prediction.prediction_ledger import Entry, Ledger
from faceparse.core.prediction.saving import FILES, Outputs

MOST_PHOTOGRAPHS, MOST_BYTES = 512, 64 * 2**20
"""A part has no more photographs, and no more bytes unless one photograph alone has."""

_NAMES: dict[str, Callable[[Path], list[str]]] = {"parquet": parquet_names, "webdataset": tar_names}
_COPY: dict[str, Callable[[Path, BinaryIO, Collection[str]], None]] = {
    "parquet": copy_parquet_part,
    "webdataset": copy_tar_part,
}


def write_part(outputs: Outputs, rows: Sequence[PartRow]) -> Part:
    """Write rows as a part; it is on the disk, under its name, when this returns.

    Its name is made of the photographs' names and stamps: the same ones replace the same part.

    Raises:
        OutputError: it cannot be written.
    """
    digest = hashlib.sha256()
    for row in rows:
        digest.update(b"%s\0%s\0" % (os.fsencode(row.name), row.stamp.encode()))
    stem = f"{_start(outputs.shard)}{digest.hexdigest()[:16]}"
    path = outputs.folder / outputs.to / f"{stem}{PART_SUFFIXES[outputs.to]}"
    with atomic_file(path) as file:
        if outputs.to == "parquet":
            write_parquet_part(file, rows, outputs.label_set)
        else:
            write_tar_part(file, stem, rows)
        size = flush_file(file)
    flush_folder(path.parent)
    return Part(path.name, size)


def row_of(outputs: Outputs, photo: Photograph, described: dict[str, Any], label: np.ndarray) -> PartRow:
    """Row of a photograph.

    Args:
        described: what the JSON says of it.
        label: its labels, H x W.
    """
    labels = encode_palette_png(label, outputs.label_set.palette()) if "labels" in outputs.kinds else None
    runs = _runs(label, outputs.label_set) if "coco" in outputs.kinds else None
    own = (photo.data, _suffix(photo)) if outputs.to == "webdataset" else (b"", "")
    return PartRow(photo.source.name, photo.stamp, described, labels, runs, *own)


def _runs(label: np.ndarray, label_set: LabelSet) -> list[dict[str, Any]]:
    """COCO's run lengths of each class but the background."""
    return [
        {"class": label_set.names[id_], "size": list(label.shape), "counts": encode_counts(lengths)}
        for id_, lengths in class_lengths(label).items()
        if id_
    ]


def _suffix(photo: Photograph) -> str:
    """Suffix of the photograph's file; by its content where its name has none of a picture."""
    suffix = PurePath(photo.source.where).suffix.lower()
    return suffix if suffix in IMAGE_SUFFIXES else f".{photo.picture.kind.lower() or 'jpg'}"


class PartWriter:
    """Notes photographs in the ledger; those with a row, when their part is full and written.

    with PartWriter(outputs, ledger) as writer:
        for one in saved:
            writer.note(one.source.name, one.entry, one.row)

    The last part is written when the block ends, also by Ctrl-C. Where it cannot be written, the ledger keeps it.
    """

    def __init__(self, outputs: Outputs, ledger: Ledger) -> None:
        self._outputs, self._ledger = outputs, ledger
        self._count = self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OutputError):  # which a second try would meet again
            self._close_part()

    def note(self, name: str, entry: Entry, row: PartRow | None) -> None:
        """Note a photograph.

        Raises:
            OutputError: a part or the ledger cannot be written.
        """
        if row is None:
            self._ledger.note(name, entry)
            return
        if self._size + row.size > MOST_BYTES or self._count == MOST_PHOTOGRAPHS:
            self._close_part()
        self._ledger.note_open(name, entry, row)
        self._count += 1
        self._size += row.size

    def _close_part(self) -> None:
        _put_in_place(self._outputs, self._ledger)
        self._count = self._size = 0


def begin_parts(outputs: Outputs, ledger: Ledger) -> None:
    """Make the parts' folder, and put the open part of a process that was killed in place.

    Raises:
        OutputError: the part cannot be written, would lie outside the folder, or is damaged in the ledger.
    """
    if outputs.to == FILES:
        return
    folder = outputs.folder / outputs.to
    make_folder(folder)
    refuse_links_out(outputs.folder, folder)
    _put_in_place(outputs, ledger)


def _put_in_place(outputs: Outputs, ledger: Ledger) -> None:
    """Write the open part, if it has photographs."""
    if not (rows := ledger.open_rows()):
        return
    try:
        part = write_part(outputs, rows)
    except (ValueError, TypeError) as error:  # values that no part of ours has
        raise ledger.damaged(error) from None
    ledger.note_part(part)


def take_out_again(outputs: Outputs, ledger: Ledger, again: Iterable[Source]) -> None:
    """Remove parts that no ledger names, and take photographs that are parsed again out of their parts.

    A photograph's outputs have another name once a file `a.png` lies beside `a.jpg`; it is taken out by its path, too.
    Parts of other shards of the same number are left alone: their processes may be writing.

    Args:
        again: the photographs that this process is about to parse.

    Raises:
        OutputError: a part is damaged, cannot be written, or lies outside the folder.
    """
    if outputs.to == FILES:
        return
    folder = outputs.folder / outputs.to
    with ledger.alone():
        known, there = ledger.parts() | ledger.elsewhere, part_sizes(folder)
        for name, size in there.items():
            if size < 0 or (name not in known and not _of_a_brother(name, outputs.shard)):
                _remove(folder / name)
        held: dict[str, list[str]] = defaultdict(list)
        for source in again:
            others = ledger.names_of(source.path) if source.content is None else []
            for name in {source.name, *others}:
                entry = ledger.find(name)
                if entry is not None and entry.part is not None:
                    held[entry.part.name].append(name)
        for part, names in held.items():
            is_there = there.get(part, -1) >= 0
            left = _without(outputs.to, folder / part, {utf8(name) for name in names}) if is_there else 0
            ledger.take_out(part, names, left)


def _without(kind: str, path: Path, names: set[str]) -> int:
    """Take photographs out of a part and return its new size; 0 if nothing is left, and it is removed."""
    try:
        inside = _NAMES[kind](path)
    except ValueError:  # cut short: nobody reads it any more
        _remove(path)
        return 0
    except OSError as error:
        raise OutputError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    if names.isdisjoint(inside):
        return path.stat().st_size
    if names.issuperset(inside):
        _remove(path)
        return 0
    try:
        with atomic_file(path) as file:
            _COPY[kind](path, file, names)
            size = flush_file(file)
    except ValueError as error:
        raise OutputError(f"{path}: damaged ({error}); remove it, and its photographs are parsed anew") from None
    flush_folder(path.parent)
    return size


def _start(shard: InputShard | None) -> str:
    return "part-" if shard is None else f"part-{shard.index}-of-{shard.count}-"


def _of_a_brother(name: str, shard: InputShard | None) -> bool:
    """Whether a part is of another shard of the same number."""
    found = re.match(r"part-(\d+)-of-(\d+)-", name)
    return bool(shard and found and int(found[2]) == shard.count and int(found[1]) != shard.index)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
