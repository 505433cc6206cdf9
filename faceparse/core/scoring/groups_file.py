"""Groupings from a CSV file: a line for each photograph, a column for each attribute."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from faceparse.core.datasets.layout import Sample, name_within
from faceparse.core.errors import DatasetError
from faceparse.core.files.tables import Row, read_table
from faceparse.core.scoring.built_in_groups import NAMES
from faceparse.core.scoring.groups import Grouping, by_thirds, by_words
from faceparse.core.scoring.split import Split

MOST = 50
"""Groups that a column may have. A column of more is no attribute but a name, an id or a date."""

DISTINCT = 10
"""Different numbers up to which each is a group, as on the scales of Fitzpatrick (6) and Monk (10). More are thirds."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_SHOWN = 3
"""Ids that a message names."""


def read_groups(path: Path, split: Split, *, warn: Callable[[str], None]) -> tuple[Grouping, ...]:
    """Groupings of the split's photographs, one for each column but the first, which is `id` or `image`.

    Commas, semicolons or tabs are between the cells. An empty cell puts its photograph into no group.

    Args:
        warn: called with a line where the file and the split do not hold the same photographs.

    Raises:
        DatasetError: the file cannot be read, or does not group the photographs.
    """
    names, rows = read_table(path)
    if built_in := next((name for name in names if name in NAMES), None):
        raise DatasetError(f"{path}: column {built_in!r} is named like a built-in grouping; rename it")
    found = _find_photographs(path, split, rows, warn)
    return tuple(
        _grouping(path, name, _cells(found, column, len(split.samples)), warn) for column, name in enumerate(names, 1)
    )


def _find_photographs(
    path: Path, split: Split, rows: Iterable[Row], warn: Callable[[str], None]
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
        are, do = ("is", "does") if len(unknown) == 1 else ("are", "do")
        warn(f"{path}: {len(unknown)} of its photographs {are} not in {where} and {do} not count: {_some(unknown)}")
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
        parts = PurePosixPath(name_within(root, file)).parts
        for whole in (PurePosixPath(*parts), PurePosixPath(*(parts[1:] or parts))):
            names |= {str(whole), str(whole.with_suffix(""))}
    return names


def _cells(found: dict[int, list[str]], column: int, images: int) -> list[str | None]:
    """Cell of each photograph in one column; None for an empty one, and for a photograph that the file lacks."""
    return [(found[image][column] or None) if image in found else None for image in range(images)]


def _grouping(path: Path, name: str, cells: list[str | None], warn: Callable[[str], None]) -> Grouping:
    words = {cell for cell in cells if cell is not None}
    numbers = _numbers(words)
    if numbers is None and len(numerals := {word for word in words if _NUMBER.fullmatch(word)}) > len(words) / 2:
        warn(
            f"{path}: column {name!r} has numbers and {_some(sorted(words - numerals))}, so each value is a group of "
            "its own; leave such a cell empty"
        )
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
