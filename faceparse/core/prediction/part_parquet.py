"""Writes photographs' outputs to a Parquet file: a row for each, of plain Arrow types that all readers have."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from faceparse.core.errors import first_line
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.prediction.part_row import PartRow, utf8

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

GROUP = 64
"""Photographs in a row group, at most: a reader has as many in memory at a time."""
_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["label_set", "model", "coco.list.element.class"],
    "write_statistics": ["name"],
}


def write_parquet_part(file: BinaryIO, rows: Sequence[PartRow], label_set: LabelSet) -> None:
    """Write the rows to an open file.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rest = _schema(rows[0], label_set), iter(rows)
    with pq.ParquetWriter(file, schema, **_OPTIONS) as writer:
        while group := [_values(row) for row in islice(rest, GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def parquet_names(path: Path) -> list[str]:
    """Names of the photographs in a file, as text that `utf8` gives.

    Raises:
        ValueError: it is no whole file of ours.
        OSError: it cannot be read.
    """
    with _reading(path) as file:
        return [str(name) for name in file.read(columns=["name"]).column(0).to_pylist()]


def copy_parquet_part(path: Path, file: BinaryIO, without: Collection[str]) -> None:
    """Copy a file to an open file, except the photographs of some names.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read, or the copy cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _reading(path) as old, pq.ParquetWriter(file, old.schema_arrow, **_OPTIONS) as writer:
        for number in range(old.num_row_groups):
            table = old.read_row_group(number)
            kept = [name not in without for name in table.column("name").to_pylist()]
            writer.write_table(table.filter(pa.array(kept, pa.bool_())))


@contextmanager
def _reading(path: Path) -> "Iterator[pq.ParquetFile]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if "name" not in file.schema_arrow.names:
                raise ValueError("no column 'name'")
            yield file
    except pa.ArrowException as error:
        raise ValueError(first_line(error)) from None


def _schema(row: PartRow, label_set: LabelSet) -> "pa.Schema":
    """Columns of a file: `labels` and `coco` where the row has them."""
    import pyarrow as pa

    text, real, whole = pa.string(), pa.float64(), pa.int32()
    area = pa.struct([("pixels", pa.int64()), ("fraction", real)])
    face = pa.struct(
        [("box", pa.list_(real)), ("score", real), ("points", pa.list_(pa.list_(real))), ("confidence", real)]
    )
    run = pa.struct([("class", text), ("size", pa.list_(whole)), ("counts", text)])
    columns = [
        *(("name", text), ("source", text), ("height", whole), ("width", whole), ("label_set", text), ("model", text)),
        ("confidence", real),
        ("classes", pa.struct([(name, area) for name in label_set.names])),
        ("faces", pa.list_(face)),
    ]
    columns += [("labels", pa.binary())] if row.labels is not None else []
    columns += [("coco", pa.list_(run))] if row.coco is not None else []
    return pa.schema(columns)


def _values(row: PartRow) -> dict[str, Any]:
    """Values of the columns."""
    texts = {"name": utf8(row.name), "source": utf8(row.described["source"]), "model": utf8(row.described["model"])}
    return {**row.described, **texts, "labels": row.labels, "coco": row.coco}
