"""groups.csv in a dataset folder: which photographs belong together, such as those of one person.

Its columns are photograph (an id) and group. A photograph that it does not name is a group of its own. Folds, shares of
train, and the resamples of an evaluation take a group whole.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from faceparse.core.datasets.layout import SPLITS, DatasetFolder, Sample
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.tables import csv_text
from faceparse.core.files.writing import write_atomic
from faceparse.core.text.paths import decode_text

GROUPS_FILE = "groups.csv"
COLUMNS = ["photograph", "group"]


def group_names(root: Path, samples: Sequence[Sample]) -> list[str]:
    """Name of the group of each photograph: that of groups.csv, else one that no other photograph has.

    Raises:
        DatasetError: groups.csv is bad, or names no photograph of any list.
    """
    known = read_groups(root)
    if known and not any(sample.id in known for sample in samples):
        folder = DatasetFolder(root)
        there = [split for split in SPLITS if folder.list_path(split).is_file()]
        listed = [sample.id for split in there for sample in folder.samples(split)]
        if known.keys().isdisjoint(listed):
            raise DatasetError(
                f"{root / GROUPS_FILE}: names no photograph of {', '.join(there)}; write their ids, such as "
                f"{listed[0]!r}"
            )
    return [f"group {known[sample.id]}" if sample.id in known else f"photograph {sample.id}" for sample in samples]


def group_numbers(root: Path, samples: Sequence[Sample]) -> np.ndarray | None:
    """Number of each photograph's group, from 0: N int64. None where each photograph is a group of its own.

    Raises:
        DatasetError: as `group_names`.
    """
    names, numbers = np.unique(np.array(group_names(root, samples), object), return_inverse=True)
    return None if len(names) == len(samples) else numbers.ravel()


def read_groups(root: Path) -> dict[str, str]:
    """Id of a photograph -> name of its group, as groups.csv says; empty without the file.

    Raises:
        DatasetError: it is no such file.
    """
    path = root / GROUPS_FILE
    if not path.is_file():
        return {}
    try:
        text = decode_text(read_bytes(path))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a text file in UTF-8; save it as CSV in UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: not a line of a CSV file ({error}); fix it") from None
    if not rows or rows[0][1] != COLUMNS:
        raise DatasetError(f"{path}: its first line is not {','.join(COLUMNS)!r}; write it so")
    groups: dict[str, str] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(COLUMNS) or not all(cells):
            raise DatasetError(f"{path}:{line}: not the id of a photograph and the name of its group; fix the line")
        name, group = cells
        if groups.setdefault(name, group) != group:
            raise DatasetError(f"{path}:{line}: {name!r} is in two groups, {groups[name]!r} and {group!r}; keep one")
    return groups


def write_groups(root: Path, groups: Mapping[str, str]) -> None:
    """Write groups.csv: a line for each photograph's id and the name of its group.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(root / GROUPS_FILE, csv_text([COLUMNS, *sorted(groups.items())]).encode())


def torn(members: Iterable[tuple[str, str]]) -> list[str]:
    """One phrase for each group of (group, split) pairs that is in several splits: `anna in test and train`."""
    found: dict[str, set[str]] = {}
    for group, split in members:
        found.setdefault(group, set()).add(split)
    return [f"{group} in {' and '.join(sorted(splits))}" for group, splits in found.items() if len(splits) > 1]
