"""The list of photographs that could not be parsed: failed.csv in the output folder."""

import csv
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from faceparse.core.files.writing import cannot_write, write_atomic
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.prediction_ledger import Ledger


def failed_file(folder: Path, shard: InputShard | None) -> Path:
    """Path of the list: `failed.csv`, or `failed-3-of-16.csv`."""
    return folder / ("failed.csv" if shard is None else f"failed-{shard.index}-of-{shard.count}.csv")


def write_failed(folder: Path, sources: Sequence[Source], ledger: Ledger, shard: InputShard | None) -> Path | None:
    """Write the broken photographs among `sources` with their reasons and return the path of the list.

    Where there are none, an earlier list is removed.

    Raises:
        OutputError: it cannot be written.
    """
    path = failed_file(folder, shard)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["photograph", "reason"])
    failed = 0
    for source in sources:
        entry = ledger.find(source.name)
        if entry is not None and entry.problem:
            failed += 1
            table.writerow([source.where, entry.problem.removeprefix(f"{source.where}: ")])
    if failed:
        write_atomic(path, os.fsencode(text.getvalue()))
        return path
    try:
        with suppress(FileNotFoundError):
            path.unlink()
    except OSError as error:
        raise cannot_write(path, error) from error
    return None
