"""The splits that a folder's photographs have already: in folders, in lists or in a table."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from faceparse.core.datasets.folder_labels import Photograph
from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.photograph_names import Named, PhotographNames
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.tables import Row, read_table
from faceparse.core.labels.label_set import nearest
from faceparse.core.text.paths import decode_text

_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Word for a split, in small letters -> split."""


def splits_of_folders(photographs: Sequence[Photograph]) -> dict[str, str]:
    """Photograph's id -> split, by the field `{split}` of the images' pattern.

    Raises:
        DatasetError: a folder's name is no split.
    """
    splits = {}
    for one in photographs:
        word = one.fields["split"]
        if (split := _WORDS.get(word.lower())) is None:
            raise DatasetError(
                f"{one.path}: {word!r} stands where --images has {{split}}, and is none of train, val and test"
                f"{nearest(word.lower(), _WORDS)}; rename it or narrow the pattern"
            )
        splits[one.id] = split
    return splits


def folders_like_splits(photographs: Sequence[Photograph]) -> list[str]:
    """Names of folders that are words for splits, if every photograph is in such a folder, and not all in one."""
    found = [{part.lower() for part in PurePosixPath(one.id).parts[:-1]} & _WORDS.keys() for one in photographs]
    words = sorted(set[str]().union(*found))
    return words if all(found) and len(words) > 1 else []


def splits_of_file(file: str, names: PhotographNames) -> tuple[dict[str, str], list[str]]:
    """Photograph's id -> split, and one line for each line of the file that is wrong.

    Args:
        file: a CSV with the columns `id` and `split`; or text lists, a photograph a line, perhaps with its label.
            `{split}` in their path stands for train, val and test.

    Raises:
        SettingsError, DatasetError: there is no such file, or it cannot be read.
    """
    lines = _lists(file) if "{split}" in file else _table(Path(file))
    wrong = [line for line in lines if line.value.lower() not in _WORDS]
    problems = [f"{one.where}: {one.value!r} is no split; write train, val or test" for one in wrong]
    sound = [line._replace(value=_WORDS[line.value.lower()]) for line in lines if line not in wrong]
    found, others = names.values(sound)
    return found, problems + others


def _table(path: Path) -> list[Named]:
    return [Named(f"{path}:{row.line}", row.cells[0], value) for row, value in column_of(path, "split")]


def column_of(path: Path, name: str) -> list[tuple[Row, str]]:
    """The rows of a table, each with its cell in the column `name`, or in the second column of two.

    Raises:
        DatasetError: the table cannot be read, or has other columns.
    """
    columns, rows = read_table(path)
    if len(columns) > 1 and name not in columns:
        raise DatasetError(f"{path}: no column {name!r} among {', '.join(columns)}; name one so")
    number = columns.index(name) + 1 if name in columns else 1
    return [(row, row.cells[number]) for row in rows]


def _lists(file: str) -> list[Named]:
    lines: list[Named] = []
    for word in _WORDS:
        path = Path(file.replace("{split}", word))
        if not path.is_file():
            continue
        try:
            text = decode_text(read_bytes(path))
        except UnicodeDecodeError:
            raise DatasetError(f"{path}: not a text file in UTF-8; save it so") from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                lines.append(Named(f"{path}:{number}", line.strip(), _WORDS[word]))
    if not lines:
        example = file.replace("{split}", SPLITS[0])
        raise SettingsError(f"--splits {file!r}: no list such as {example} with photographs in it; fix the path")
    return lines
