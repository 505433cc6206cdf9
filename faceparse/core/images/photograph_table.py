"""Finds the photographs in a column of a Parquet file, and reads them few at a time.

A group of rows can be read from its start alone. So a reader goes through a group once, and keeps the last rows for
threads that come late. Whoever goes back begins the group anew.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from faceparse.core.errors import DatasetError, FaceparseError, ResourceError, first_line
from faceparse.core.files.local_file import ListedFile, LocalFile
from faceparse.core.files.remote import ask_many, find_remote_file, is_remote, protocol_of
from faceparse.core.images.photograph import Found, Missing, Photograph
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.address import public_address
from faceparse.core.text.paths import leads_out
from faceparse.core.text.patterns import some_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PARQUET, IMAGE = ".parquet", "image"
BLOCK = 2**20
"""Bytes that are read at a time."""
ROWS = 16
"""Rows that are decoded at a time."""
KEPT, KEPT_BYTES = 64, 256 * 2**20
"""Rows that are kept for threads that come late, and their bytes at most."""


@dataclass(frozen=True, slots=True)
class Table:
    """A column of a Parquet file."""

    source: ListedFile
    column: str


@dataclass(frozen=True, slots=True)
class Cell:
    """The bytes in a row."""

    table: Table
    row: int
    """Counted from 0."""
    path: str = ""
    """Path in its struct, if the file there may stand in for the bytes."""

    @property
    def where(self) -> str:
        """The table and the row."""
        return f"{self.table.source.where}/{self.row:08d}"

    @property
    def file(self) -> Path | None:
        """The table, if it is a file of this machine."""
        return self.table.source.path if isinstance(self.table.source, LocalFile) else None

    @property
    def stamp(self) -> str:
        """Stamp of the table, and the row; and that of the file that may stand in for the bytes."""
        stamp = f"{self.table.source.stamp} {self.row}"
        return f"{stamp} {_beside(self.table.source, self.path).stamp}" if self.path and self.file else stamp

    def read(self) -> bytes:
        """Read the bytes, or the file that stands in for them.

        Raises:
            DatasetError: the cell is empty, or the table or the file cannot be read.
        """
        value = _reader(self.table).value(self.row)
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and value:
            return _beside(self.table.source, value).bytes()
        if not value:
            raise DatasetError(_empty(self))
        return bytes(value)


def table_photographs(source: ListedFile, below: str, column: str | None = None) -> list[Found]:
    """Find the photographs in a column, which holds encoded ones, structs of `bytes` and `path`, or paths.

    Encoded ones are called by their rows, `TABLE/00000017`; or by the paths of the structs, if these are names of
    pictures and differ; rows without a path keep their numbers. A photograph that a path leads to is called by its
    path. A path to another place than the table's is a photograph that cannot be read.

    Args:
        below: path of the table below the searched folder.
        column: default: `image`, or the only one of the table.

    Raises:
        DatasetError: the table is damaged or cut short, lacks the column, has no rows, or all paths lead to other
            places.
        ResourceError: pyarrow is not installed.
    """
    with _damage(source.where), source.open(BLOCK) as opened:
        file = _parquet(opened, source.where)
        rows = int(file.metadata.num_rows)
        if not rows:
            raise DatasetError(f"{source.where}: has no rows; name another file")
        column, kind = _choose(file.schema_arrow, column, source.where)
        texts = [] if kind == "bytes" else list(_texts(file, column, "path" if kind == "structs" else None))
        empty = {"bytes": 0, "texts": rows}.get(kind, _nulls(file, f"{column}.bytes"))
    table = Table(source, column)
    if empty == rows:
        find = partial(_at_path, table, below)
        return _not_all_elsewhere(list((ask_many if is_remote(source.where) else map)(find, enumerate(texts))))
    within = PurePosixPath(below).with_suffix("")
    given = texts if _are_names([text for text in texts if text]) else [""] * rows
    names = [name or f"{row:08d}" for row, name in enumerate(given)]
    cells = [Cell(table, row, texts[row] if texts and empty else "") for row in range(rows)]
    return [
        Found(Photograph(f"{source.where}/{name}", content=cell), f"{within}/{name}")
        for name, cell in zip(names, cells, strict=True)
    ]


def _at_path(table: Table, below: str, cell: tuple[int, str]) -> Found:
    """The photograph that a row's text leads to. Its name is the text, or its last part where it leads elsewhere."""
    row, text = cell
    place = PurePosixPath(below)
    if PurePosixPath(text).name in ("", ".."):
        empty = Cell(table, row)
        missing = Missing(_empty(empty), empty.stamp, empty.file)
        return Found(Photograph(empty.where, content=missing), f"{place.with_suffix('')}/{row:08d}")
    photograph = _beside(table.source, text)
    if isinstance(photograph.content, Elsewhere):
        return Found(replace(photograph, where=Cell(table, row).where), f"{place.with_suffix('')}/{row:08d}")
    name = PurePosixPath(text).name if protocol_of(text) or leads_out(PurePosixPath(), text) else text
    return Found(photograph, (place.parent / name).as_posix())


@dataclass(frozen=True, slots=True)
class Elsewhere(Missing):
    """A photograph at another place than its table, where this machine's user may see more than the table's author."""


def _not_all_elsewhere(found: list[Found]) -> list[Found]:
    """Return the photographs. Raises DatasetError if the table leads only to other places."""
    contents = [one.photograph.content for one in found]
    if isinstance(first := contents[0], Elsewhere) and all(isinstance(content, Elsewhere) for content in contents):
        raise DatasetError(first.problem)
    return found


def _beside(source: ListedFile, text: str) -> Photograph:
    """The photograph at a path relative to the table; its content is `Elsewhere` if that is another place."""
    protocol = protocol_of(text)
    if protocol and (isinstance(source, LocalFile) or protocol != protocol_of(source.address)):
        there = public_address(text)[:80]
        problem = f"{source.where}: leads to {there}, another place; put the photographs beside the table"
        return Photograph(source.where, content=Elsewhere(problem, source.stamp))
    if isinstance(source, LocalFile):
        return Photograph(str(source.path.parent / text))
    if not protocol:
        if leads_out(PurePosixPath(), text):
            problem = f"{source.where}: leads to {text[:80]}, out of its folder; name paths below the table"
            return Photograph(source.where, content=Elsewhere(problem, source.stamp))
        text = f"{source.address.rpartition('/')[0]}/{text}"
    try:
        return Photograph(public_address(text), content=find_remote_file(text))
    except DatasetError as error:  # one lost photograph must not stop the others
        return Photograph(public_address(text), content=Missing(str(error), source.stamp))


def _empty(cell: Cell) -> str:
    return f"{cell.where}: no photograph in column {cell.table.column!r}; fill the cell"


def _are_names(texts: Sequence[str]) -> bool:
    """Whether the paths of structs are names of pictures, without folders, and all differ."""
    return 0 < len(texts) == len(set(texts)) and all(
        PurePath(text).name == text and not text.startswith(".") and PurePath(text).suffix.lower() in IMAGE_SUFFIXES
        for text in texts
    )


def _choose(schema: "pa.Schema", column: str | None, where: str) -> tuple[str, str]:
    """Choose a column. Return its name and its kind."""
    kinds = {name: _kind(type_) for name, type_ in zip(schema.names, schema.types, strict=True)}
    fitting = [name for name, kind in kinds.items() if kind]
    if column is None:  # no other guess: a column of label maps fits, too
        column = schema.names[0] if len(schema.names) == 1 else IMAGE
    choose = f"choose one of its columns by --column: {some_names(fitting) or 'none holds photographs'}"
    if column not in kinds:
        raise DatasetError(f"{where}: no column {column!r}; {choose}")
    if not kinds[column]:
        raise DatasetError(f"{where}: column {column!r} ({schema.field(column).type!s:.60}) cannot hold them; {choose}")
    return column, kinds[column]


def _kind(type_: "pa.DataType") -> str:
    """Kind of a column: `bytes`, `structs` of bytes and path, or `texts`; empty if it cannot hold photographs."""
    from pyarrow import types

    if types.is_dictionary(type_):
        type_ = type_.value_type
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "bytes"
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return "texts"
    if not types.is_struct(type_):
        return ""
    fields = {type_.field(i).name: _kind(type_.field(i).type) for i in range(type_.num_fields)}
    if fields.get("bytes") != "bytes":
        return ""
    return "structs" if fields.get("path") == "texts" else "bytes"


def _texts(file: "pq.ParquetFile", column: str, field: str | None) -> Iterator[str]:
    """Texts in a column, or in a field of its structs; empty where there is none."""
    wanted = f"{column}.{field}" if field else column
    for batch in file.iter_batches(columns=[wanted], use_threads=False):
        for value in batch.column(batch.schema.get_field_index(column)).to_pylist():
            yield (value.get(field) if isinstance(value, dict) else value) or ""


def _nulls(file: "pq.ParquetFile", column: str) -> int:
    """Number of nulls that the file tells of in a column; -1 if it does not tell."""
    count = 0
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        for chunk in (group.column(j) for j in range(group.num_columns)):
            if chunk.path_in_schema == column:
                if chunk.statistics is None or not chunk.statistics.has_null_count:
                    return -1
                count += chunk.statistics.null_count
    return count


def _parquet(file: BinaryIO, where: str) -> "pq.ParquetFile":
    """Open a Parquet file, to be read in pieces: pyarrow's own way is a whole group of rows at a time."""
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ResourceError(f"{where}: a Parquet file; 'pip install pyarrow' reads them") from None
    return pq.ParquetFile(file, buffer_size=BLOCK, pre_buffer=False)


@contextmanager
def _damage(where: str) -> Iterator[None]:
    try:
        yield
    except FaceparseError:
        raise
    except Exception as error:  # pyarrow's errors are of many kinds
        raise DatasetError(f"{where}: damaged Parquet file ({first_line(error)}); replace the file") from None


class _Reader:
    """Reads the rows of a column for many threads."""

    def __init__(self, table: Table) -> None:
        """Open the table.

        Raises:
            DatasetError: it cannot be read, or has changed.
        """
        self._column, self._where, self._lock = table.column, table.source.where, threading.Lock()
        with _damage(self._where):
            self._file = _parquet(table.source.open(BLOCK), self._where)
            metadata = self._file.metadata
        counts = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self._kept, self._waiting = dict[int, Any](), set[int]()
        self._bytes = 0
        self._stream: Iterator[Any] = iter(())
        self._group = self._next = -1
        self._ends: dict[int, tuple[int, str]] = {}

    def value(self, row: int) -> Any:
        """Cell of a row.

        Raises:
            DatasetError: it cannot be read.
        """
        self._waiting.add(row)  # others may be served first, and must not pass over it
        try:
            with self._lock:
                if row not in self._kept:
                    self._go_to(row)
                return self._kept[row]
        finally:
            self._waiting.discard(row)

    def _go_to(self, row: int) -> None:
        group = bisect_right(self._starts, row) - 1
        end, problem = self._ends.get(group, (row, ""))
        if problem and row >= end:  # all of it would be read again, for nothing
            raise DatasetError(problem)
        try:
            with _damage(self._where):
                if group != self._group or row < self._next:
                    self._stream = self._file.iter_batches(ROWS, [group], [self._column], use_threads=False)
                    self._group, self._next = group, self._starts[group]
                    self._kept.clear()
                    self._bytes = 0
                while self._next <= row:
                    self._keep(next(self._stream), row)
        except FaceparseError as error:
            self._ends[group] = (self._next, str(error))
            self._group = -1
            raise

    def _keep(self, batch: Any, wanted: int) -> None:
        """Take the next rows; of those far before the wanted one, nothing is kept."""
        cells = batch.column(batch.schema.get_field_index(self._column))
        for row, cell in enumerate(cells, self._next):
            if row > wanted - KEPT or row in self._waiting:
                self._kept[row] = value = cell.as_py()
                self._bytes += _size(value)
        self._next += len(cells)
        for row in [row for row in self._kept if row < wanted and row not in self._waiting]:
            if len(self._kept) <= KEPT and self._bytes <= KEPT_BYTES:
                break
            self._bytes -= _size(self._kept.pop(row))


def _size(value: Any) -> int:
    if isinstance(value, dict):
        value = value.get("bytes")
    return len(value or b"")


_opening = threading.Lock()


def _reader(table: Table) -> _Reader:
    with _opening:
        return _open_reader(table)


_open_reader = lru_cache(maxsize=4)(_Reader)
