"""Write photographs as Parquet: a row for each, with its files as columns of bytes.

The columns are not compressed and have no dictionary. So each file's bytes lie in one piece in the Parquet file, and
are read by their place, as from a tar.
"""

import mmap
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from faceparse.core.datasets.shard import COLUMNS, Row, Shard
from faceparse.core.errors import ResourceError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 32 * 2**20
"""Bytes of the files of a row group, about. As many are in memory at a time."""


def must_have_pyarrow(what: str = "--to parquet") -> None:
    """Raise ResourceError, which names `what` needs it, if the package for Parquet is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise ResourceError(f"{what}: pyarrow is not installed; run 'pip install pyarrow'") from None


def write_parquet(path: Path, rows: Iterable[Row]) -> Shard:
    """Write the rows to a Parquet file. Return its line of the index.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow.parquet as pq

    groups: list[list[_Kept]] = []
    with pq.ParquetWriter(path, _schema(), compression="none", use_dictionary=False, write_statistics=False) as writer:
        for group in _groups(rows):
            writer.write_table(_table(group), row_group_size=len(group))
            groups.append([_kept(row) for row in group])
    return Shard(path.name, path.stat().st_size, dict(_places(path, groups)))


class _Kept(NamedTuple):
    """Place and size of a row that was written."""

    names: dict[str, str]
    marks: dict[str, tuple[int, int]]
    """File -> number of its bytes, their CRC-32."""


def _kept(row: Row) -> _Kept:
    return _Kept(row.names, {file: (len(data), zlib.crc32(data)) for file, data in row.contents.items()})


def _schema() -> "pa.Schema":
    import pyarrow as pa

    files = [pa.field(file, pa.binary(), nullable=not always) for file, always in COLUMNS.items()]
    names = [pa.field(f"{file}_file", pa.string(), nullable=False) for file in ("image", "label")]
    return pa.schema([pa.field("id", pa.string(), nullable=False), *names, *files])


def _table(group: Sequence[Row]) -> "pa.Table":
    import pyarrow as pa

    named = [{"id": row.id, "image_file": row.names["image"], "label_file": row.names["label"]} for row in group]
    rows = [{**names, **row.contents} for names, row in zip(named, group, strict=True)]
    return pa.Table.from_pylist(rows, schema=_schema())


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    size = 0
    for row in rows:
        group.append(row)
        size += sum(map(len, row.contents.values()))
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _places(path: Path, groups: Sequence[Sequence[_Kept]]) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Path in the layout -> offset, size and CRC-32, found in the finished file."""
    import pyarrow.parquet as pq

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        metadata = pq.read_metadata(path)
        for i, group in enumerate(groups):
            chunks = [metadata.row_group(i).column(j) for j in range(metadata.num_columns)]
            for chunk in chunks:
                if chunk.path_in_schema not in COLUMNS:
                    continue
                at = chunk.data_page_offset
                for kept in group:
                    if chunk.path_in_schema in kept.marks:
                        size, crc = kept.marks[chunk.path_in_schema]
                        at = _find(data, at, size, crc)
                        yield kept.names[chunk.path_in_schema], (at, size, crc)
                        at += size


def _find(data: mmap.mmap, start: int, size: int, crc: int) -> int:
    """Where the value of this size and CRC-32 begins: Parquet writes its size before it, after a page's header."""
    length = struct.pack("<I", size)
    at = data.find(length, start)
    while zlib.crc32(data[at + len(length) : at + len(length) + size]) != crc:
        at = data.find(length, at + 1)
        assert at >= 0, "pyarrow did not write the bytes as they are"
    return at + len(length)


def parquet_problem(path: Path) -> str:
    """Fault that keeps a file from being a shard: no Parquet, no such column, nulls. Empty where it cannot be told."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return ""
    try:
        with pq.ParquetFile(path) as file:
            metadata, names = file.metadata, file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        return f"not a whole Parquet file ({first_line(error)})"
    needed = [column for column, always in COLUMNS.items() if always]
    if missing := [column for column in needed if column not in names]:
        return f"has no column {missing[0]!r}"
    chunks = [metadata.row_group(i).column(j) for i in range(metadata.num_row_groups) for j in range(len(names))]
    for chunk in chunks:
        if chunk.path_in_schema in needed and (known := chunk.statistics) is not None and known.null_count:
            return f"column {chunk.path_in_schema!r} has nulls ({known.null_count})"
    return ""
