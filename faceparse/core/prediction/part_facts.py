"""Reads facts about photographs from Parquet parts, for a report where the ledger is not at hand."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from faceparse.core.errors import DatasetError, first_line
from faceparse.core.prediction.parsing_report import Measured
from faceparse.core.prediction.photograph_facts import FaceFacts, Facts

COLUMNS = ["name", "source", "height", "confidence", "classes", "faces"]
BATCH = 256
"""Photographs that are read at a time."""


def parquet_classes(path: Path) -> list[str]:
    """Names of the classes in a part, in the order of ids.

    Raises:
        DatasetError: it is no part.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        return [field.name for field in schema.field("classes").type]
    except (pa.ArrowException, OSError, LookupError, TypeError) as error:
        raise _damaged(path, error) from None


def measured_in(paths: Iterable[Path], classes: Sequence[str]) -> Iterator[Measured]:
    """Yield the photographs of some parts.

    Raises:
        DatasetError: a file is no part, or has other classes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        if parquet_classes(path) != list(classes):
            raise DatasetError(
                f"{path}: has other classes than the parts before it; give each label set its own folder"
            )
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH, columns=COLUMNS):
                    yield from map(_measured, batch.to_pylist())
        except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            raise _damaged(path, error) from None


def _measured(row: dict[str, Any]) -> Measured:
    faces = None if row["faces"] is None else tuple(_face(one, row["height"]) for one in row["faces"])
    pixels = tuple(int(area["pixels"]) for area in row["classes"].values())
    confidence = None if row["confidence"] is None else float(row["confidence"])
    return Measured(str(row["source"]), str(row["name"]), Facts(confidence, pixels, faces))


def _face(face: dict[str, Any], height: int) -> FaceFacts:
    confidence = None if face["confidence"] is None else float(face["confidence"])
    return FaceFacts(float(face["box"][3]), float(face["box"][3]) / height, confidence)


def _damaged(path: Path, error: Exception) -> DatasetError:
    return DatasetError(f"{path}: no whole part of predict --to parquet ({first_line(error)}); copy it again")
