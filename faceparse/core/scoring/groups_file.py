"""Groupings from a CSV file: a line for each photograph, a column for each attribute."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.scoring.built_in_groups import NAMES
from faceparse.core.scoring.groups import Grouping, by_thirds, by_words
from faceparse.core.scoring.split import Split
from faceparse.core.text.paths import decode_text

MOST = 50
"""Groups that a column may have. A column of more is no attribute but a name, an id or a date."""

DISTINCT = 10
"""Different numbers up to which each is a group, as on the scales of Fitzpatrick (6) and Monk (10). More are thirds."""

_FIRST = re.compile(r'\s*"?(id|image)"?[ ]*([,;\t])', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SHOWN = 3
"""Ids that a message names."""


class _Row(NamedTuple):
    line: int
    cells: list[str]


def read_groups(path: Path, split: Split, *, warn: Callable[[str], None]) -> tuple[Grouping, ...]:
    """Groupings of the split's photographs, one for each column but the first, which is `id` or `image`.

    Commas, semicolons or tabs are between the cells. An empty cell puts its photograph into no group.

    Args:
        warn: called with a line where the file and the split do not hold the same photographs.

    Raises:
        DatasetError: the file cannot be read, or does not group the photographs.
    """
    names, rows = _read_table(path)
    found = _find_photographs(path, split, rows, warn)
    return tuple(
        _grouping(path, name, _cells(found, column, len(split.samples))) for column, name in enumerate(names, 1)
    )


def _read_table(path: Path) -> tuple[list[str], list[_Row]]:
    """Names of the columns but the first, and the rows that are not empty."""
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
        header, *rows = [_Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
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


def _check_names(path: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable():
            raise DatasetError(f"{path}: column {number} has no name of printable letters; name it or remove it")
        if name in names[: number - 1]:
            raise DatasetError(f"{path}: has two columns {name!r}; rename or remove one")
        if name in NAMES:
            raise DatasetError(f"{path}: column {name!r} is named like a built-in grouping; rename it")


def _find_photographs(
    path: Path, split: Split, rows: Iterable[_Row], warn: Callable[[str], None]
) -> dict[int, list[str]]:
    """Position of each photograph that the file names -> its cells."""
    find = _finder(split)
    found: dict[int, list[str]] = {}
    lines: dict[int, int] = {}
    unknown = []
    for row in rows:
        images = find(row.cells[0])
        if not images:
            unknown.append(row.cells[0])
        if len({split.samples[image].id for image in images}) > 1:
            raise DatasetError(
                f"{path}:{row.line}: {row.cells[0]!r} names several photographs; write their ids, such as "
                f"{split.samples[images[0]].id!r}"
            )
        for image in images:
            if image in found:
                raise DatasetError(
                    f"{path}:{row.line}: {row.cells[0]!r} is already on line {lines[image]}; keep one of the lines"
                )
            found[image], lines[image] = row.cells, row.line
    where = f"{split.root} {split.name}"
    if not found:
        raise DatasetError(
            f"{path}: none of its photographs ({_some(unknown)}) is in {where}; write ids as there, such as "
            f"{split.samples[0].id!r}"
        )
    if unknown:
        warn(f"{path}: {len(unknown)} of its photographs are not in {where} and do not count: {_some(unknown)}")
    if missing := [sample.id for image, sample in enumerate(split.samples) if image not in found]:
        warn(
            f"{path}: lacks {len(missing)} of the {len(split.samples)} photographs of {where}, which form no group: "
            f"{_some(missing)}"
        )
    return found


def _finder(split: Split) -> Callable[[str], list[int]]:
    """Function from a photograph's id, or another name of it, to its positions: several if the list repeats it."""
    ids, others = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for image, sample in enumerate(split.samples):
        ids[sample.id].append(image)
        for name in _names(sample, split.root):
            others[name].append(image)
    return lambda name: ids.get(name) or others.get(name, [])


def _names(sample: Sample, root: Path) -> set[str]:
    """Paths of image and label, with and without their folder and their suffix."""
    names = set()
    for file in (sample.image, sample.label):
        parts = PurePosixPath(file.relative_to(root)).parts
        for whole in (PurePosixPath(*parts), PurePosixPath(*(parts[1:] or parts))):
            names |= {str(whole), str(whole.with_suffix(""))}
    return names


def _cells(found: dict[int, list[str]], column: int, images: int) -> list[str | None]:
    """Cell of each photograph in one column; None for an empty one, and for a photograph that the file lacks."""
    return [(found[image][column] or None) if image in found else None for image in range(images)]


def _grouping(path: Path, name: str, cells: list[str | None]) -> Grouping:
    words = {cell for cell in cells if cell is not None}
    numbers = _numbers(words)
    if numbers is not None and len(set(numbers.values())) > DISTINCT:
        return by_thirds(name, np.array([np.nan if cell is None else numbers[cell] for cell in cells]))
    if numbers is not None:  # 2 and 2.0 are one
        cells = [None if cell is None else str(numbers[cell]).removesuffix(".0") for cell in cells]
    order = sorted({cell for cell in cells if cell is not None}, key=(lambda word: word) if numbers is None else float)
    if len(order) > MOST:
        raise DatasetError(
            f"{path}: column {name!r} has {len(order)} groups, such as {_some(order)}, at most {MOST} can be scored; "
            "remove the column or merge groups"
        )
    if len(order) < 2:
        what = f"puts all photographs into one group, {order[0]!r}" if order else "is empty for all photographs"
        raise DatasetError(f"{path}: column {name!r} {what}; remove the column")
    return by_words(name, cells, order)


def _numbers(words: Collection[str]) -> dict[str, float] | None:
    """Words as numbers; None where one is no finite number, as people write them: 1_2 is a code."""
    if not all(map(_NUMBER.fullmatch, words)):
        return None
    numbers = {word: float(word) + 0.0 for word in words}  # -0 is 0
    return numbers if all(np.isfinite(number) for number in numbers.values()) else None


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN])
    return f"{shown}, ..." if len(names) > _SHOWN else shown
