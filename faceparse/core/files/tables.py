"""CSV tables: those that people write, a line for each photograph and a column for each attribute; and our own."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.text.paths import decode_text

_FIRST = re.compile(r'\s*"?(id|image)"?[ ]*([,;\t])', re.IGNORECASE)


class Row(NamedTuple):
    """A line of a table that is not empty."""

    line: int
    """Number of the line, from 1."""
    cells: list[str]
    """One for each column, without blanks around."""


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Names of the columns but the first, which is `id` or `image`, and the rows.

    Commas, semicolons or tabs are between the cells.

    Raises:
        DatasetError: the file cannot be read, or is no such table.
    """
    try:
        text = decode_text(read_bytes(path))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a text file in UTF-8; save it as CSV in UTF-8") from None
    if not text.strip():
        raise DatasetError(f"{path}: empty; its first line is like 'id,sex,age', then comes a line for each photograph")
    if (first := _FIRST.match(text)) is None:
        raise DatasetError(
            f"{path}: begins with {text.strip().splitlines()[0][:40]!r}; the first column is id or image, and at least "
            "one more follows, after a comma, a semicolon or a tab"
        )
    reader = csv.reader(io.StringIO(text.lstrip(), newline=""), delimiter=first[2], strict=True)
    try:
        header, *rows = [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: not a line of a CSV file ({error}); fix it") from None
    _check_names(path, header.cells)
    rows = [row for row in rows if any(row.cells)]
    for row in rows:
        if len(row.cells) != len(header.cells):
            raise DatasetError(
                f"{path}:{row.line}: has {len(row.cells)} cells, the first line {len(header.cells)}; fix the line"
            )
        if strange := next((cell for cell in row.cells if not cell.isprintable()), None):
            raise DatasetError(f"{path}:{row.line}: {strange[:40]!r} is not of printable letters; fix the cell")
    if not rows:
        raise DatasetError(f"{path}: has no line but the first; add a line for each photograph")
    return header.cells[1:], rows


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Text of a CSV file, with commas and `\n`. The first row has the columns' names."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _check_names(path: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable():
            raise DatasetError(f"{path}: column {number} has no name of printable letters; name it or remove it")
        if name in names[: number - 1]:
            raise DatasetError(f"{path}: has two columns {name!r}; rename or remove one")
