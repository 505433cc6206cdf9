"""Finds the photographs of a folder or of a Parquet table, one after the other, in bounded memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from faceparse.core.errors import DatasetError, ResourceError, first_line
from faceparse.core.files.reading import open_regular, read_bytes
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.paths import files_below

ROWS = 16
"""Rows of a table that are in memory at a time: photographs of up to some megabytes each."""


class Photograph(NamedTuple):
    """An encoded photograph that is not read yet."""

    where: str
    """Its path, or its table and row."""
    read: Callable[[], bytes]
    """Gives the file's content. Raises DatasetError where there is none."""
    file: Path | None = None
    """The file, where it is one."""


@dataclass(frozen=True)
class PhotographSource:
    """Photographs of one place."""

    count: int
    photographs: Callable[[], Iterator[Photograph]]
    """Goes through them from the first, each time that it is called."""
    files: bool
    """Whether each is a file: then all of them fit in memory before they are read, and processes can read them."""


def open_source(path: Path, column: str = "image") -> PhotographSource:
    """Photographs in a folder and its subfolders, or in a column of a Parquet file.

    The column holds encoded photographs, paths relative to the Parquet file, or structs of `bytes` and `path`.

    Raises:
        DatasetError: there is no such place, or no photograph in it; or the table is damaged or lacks the column.
        ResourceError: pyarrow, which reads Parquet, is not installed.
    """
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        what = "neither a folder nor a .parquet file" if path.exists() else "no such folder or Parquet file"
        raise DatasetError(f"{path}: {what}; name a folder of photographs, or a table of them")
    return _table(path, column)


def _folder(folder: Path) -> PhotographSource:
    """Every file once: where links lead to it, too, it has its own name."""
    files: dict[str, Path] = {}
    for file in files_below(folder):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if hidden or file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        real = os.path.realpath(file)
        if real not in files or not file.is_symlink():
            files[real] = file
    if not files:
        raise DatasetError(
            f"{folder}: no photographs in it ({', '.join(IMAGE_SUFFIXES[:5])}, ...); name another folder"
        )
    paths = sorted(files.values())
    return PhotographSource(
        len(paths), lambda: (Photograph(str(path), partial(read_bytes, path), path) for path in paths), files=True
    )


def _table(path: Path, column: str) -> PhotographSource:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ResourceError(f"{path}: a Parquet file; 'pip install pyarrow' reads them") from None
    damaged = (pyarrow.ArrowException, OSError, ValueError)

    def refuse(error: Exception) -> DatasetError:
        return DatasetError(f"{path}: damaged Parquet file ({first_line(error)}); replace the file")

    try:
        with open_regular(path) as file, pyarrow.parquet.ParquetFile(file) as table:
            schema, count = table.schema_arrow, table.metadata.num_rows
    except damaged as error:
        raise refuse(error) from None
    if column not in schema.names:
        names = ", ".join(schema.names[:8])
        raise DatasetError(f"{path}: no column {column!r}; choose one of its columns by --column: {names}")
    if not count:
        raise DatasetError(f"{path}: has no rows; name another file")

    def photographs() -> Iterator[Photograph]:
        row, seen = 0, set[str]()
        try:
            with open_regular(path) as file, pyarrow.parquet.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=ROWS, columns=[column]):
                    for cell in batch.column(0):
                        row += 1
                        found = _cell(cell.as_py(), path, row, column)
                        if found.file is not None:  # a path that stands in two rows is no duplicate of itself
                            real = os.path.realpath(found.file)
                            if real in seen:
                                continue
                            seen.add(real)
                        yield found
        except damaged as error:
            raise refuse(error) from None

    return PhotographSource(count, photographs, files=False)


def _cell(value: Any, table: Path, row: int, column: str) -> Photograph:
    """Photograph of one row; reading it fails where the cell holds none."""
    where = f"{table}, row {row}"
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return Photograph(where, partial(bytes, value))
    if isinstance(value, str) and value:
        file = table.parent / value
        return Photograph(str(file), partial(read_bytes, file), file)
    return Photograph(where, partial(_nothing, f"{where}: no photograph in column {column!r}; fill the cell"))


def _nothing(problem: str) -> bytes:
    raise DatasetError(problem)
