"""The record of a labelling, `labels.csv`: how much of each guess a person corrected, and in what time."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.tables import csv_text
from faceparse.core.files.writing import write_atomic

RECORD = "labels.csv"
"""Name of the record's file, beside the photographs."""


class Row(NamedTuple):
    """One labelled photograph."""

    pixels: int
    """Number of its pixels."""
    corrected: int
    """Number of pixels whose class is not the guess's."""
    seconds: int
    """Seconds that a person worked on it."""
    sha256: str
    """SHA-256 of the label's file. A label that was changed elsewhere has another one, and is counted again."""


_COLUMNS = ("photograph", *Row._fields)


def read_record(path: Path) -> dict[str, Row]:
    """Read the rows of a record by the photographs' names; none where there is no such file.

    Raises:
        DatasetError: it is no such record.
    """
    if not path.exists():
        return {}
    lines = csv.reader(io.StringIO(read_bytes(path).decode("utf-8", "surrogateescape"), newline=""), strict=True)
    try:
        if tuple(next(lines, ())) != _COLUMNS:
            raise DatasetError(f"{path}: not a record of labels ({','.join(_COLUMNS)}); move it elsewhere")
        return {
            name: Row(int(pixels), int(corrected), int(seconds), sha256)
            for name, pixels, corrected, seconds, sha256 in lines
        }
    except (ValueError, csv.Error):
        raise DatasetError(f"{path}:{lines.line_num}: not a line of a record; fix it, or remove the file") from None


def write_record(path: Path, rows: Mapping[str, Row]) -> None:
    """Write a record.

    Raises:
        OutputError: it cannot be written.
    """
    text = csv_text([_COLUMNS, *((name, *row) for name, row in sorted(rows.items()))])
    write_atomic(path, text.encode("utf-8", "surrogateescape"))
