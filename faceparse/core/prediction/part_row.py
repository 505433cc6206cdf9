"""The outputs of one photograph, on their way into a part, and the name of a part.

A part is one file for many photographs: what `predict --to parquet` and `--to webdataset` write in place of many files.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from faceparse.core.text.shapes import explain
from faceparse.core.text.toml_json import parse_json

PART_SUFFIXES = {"parquet": ".parquet", "webdataset": ".tar"}
"""Kind of parts, and the folder of their files in the output folder -> suffix of these files."""

_NAME = re.compile(r"part-(?:\d+-of-\d+-)?[0-9a-f]{16}(?:\.parquet|\.tar)")


class Part(NamedTuple):
    """A part that lies in the output folder."""

    name: str
    """Name of its file."""
    size: int
    """Number of its bytes."""


@dataclass(frozen=True)
class PartRow:
    """One photograph's outputs, on their way into a part."""

    name: str
    """Name of its outputs."""
    stamp: str
    """The source's stamp."""
    described: dict[str, Any]
    """Content that `--save json` would write."""
    labels: bytes | None
    """Palette PNG of its labels."""
    coco: list[dict[str, Any]] | None
    """COCO's run lengths of each class but the background: `class`, `size` and `counts`."""
    photograph: bytes = b""
    """The photograph's own file, where the part holds it."""
    suffix: str = ""
    """Suffix of that file."""

    @property
    def size(self) -> int:
        """Number of bytes, about."""
        runs = sum(len(one["counts"]) for one in self.coco or ())
        return len(self.labels or b"") + len(self.photograph) + runs


class PackedRow(NamedTuple):
    """A row as the ledger keeps it while its part is open."""

    texts: bytes
    """JSON of all that is no bytes."""
    labels: bytes | None
    photograph: bytes


@dataclass(frozen=True)
class _Texts:
    described: dict[str, Any]
    coco: list[dict[str, Any]] | None
    suffix: str


def pack_row(row: PartRow) -> PackedRow:
    """Return what `unpack_row` turns into the same row."""
    texts = {"described": row.described, "coco": row.coco, "suffix": row.suffix}
    return PackedRow(json.dumps(texts).encode(), row.labels, row.photograph)


def unpack_row(name: str, stamp: str, packed: PackedRow) -> PartRow:
    """Return the row that was packed.

    Raises:
        ValueError: it is none of ours.
    """
    try:
        texts = TypeAdapter(_Texts).validate_python(parse_json(packed.texts))
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    missing = [key for key in ("source", "model") if not isinstance(texts.described.get(key), str)]
    if missing:
        raise ValueError(f"no {missing[0]!r}")
    return PartRow(name, stamp, texts.described, packed.labels, texts.coco, packed.photograph, texts.suffix)


def part_sizes(folder: Path) -> dict[str, int]:
    """Names of the parts in a folder, and the numbers of their bytes: -1 of a link, which no part is.

    Empty where there is no folder.
    """
    try:
        with os.scandir(folder) as entries:
            found = [one for one in entries if _NAME.fullmatch(one.name)]
            return {one.name: one.stat().st_size if one.is_file(follow_symlinks=False) else -1 for one in found}
    except OSError:
        return {}


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file's name that are none become codes, as in `\\xff`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
