"""The index of a dataset in shards: which file of the layout lies where. It makes a few large files of many small ones.

A shard is a tar or a Parquet file whose members are not compressed, so that each is read by its place alone.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path, PurePath

from faceparse.core.datasets.shard import Shard
from faceparse.core.datasets.shard_parquet import parquet_problem
from faceparse.core.errors import DatasetError
from faceparse.core.files.packed import Packed
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import write_atomic
from faceparse.core.text.shapes import parse_json_as

INDEX = "shards.jsonl"
"""One line for each shard."""
SUFFIXES = (".tar", ".parquet")


def write_index(folder: Path, shards: Iterable[Shard]) -> None:
    """Write the index of the shards that lie in `folder`."""
    write_atomic(folder / INDEX, "".join(json.dumps(asdict(shard)) + "\n" for shard in shards).encode())


def read_index(folder: Path) -> dict[str, Packed]:
    """Where each file of a dataset in shards lies, by its path in the layout. Empty where the files are loose.

    Every shard's size is compared with the index. What a shard holds is compared when it is read.

    Raises:
        DatasetError: the index is missing or damaged; or a shard is missing, cut short or of another size.
    """
    path = folder / INDEX
    if not path.is_file():
        _refuse_shards_alone(folder)
        return {}
    found: dict[str, Packed] = {}
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        try:
            shard = parse_json_as(Shard, line)
            _check(shard)
        except ValueError as error:
            raise DatasetError(f"{path}:{number}: {error}; copy the file again, or pack the dataset anew") from None
        file = folder / shard.shard
        _compare_size(file, shard.size)
        found |= {name: Packed(file, name, *place) for name, place in shard.files.items()}
    if not found:
        raise DatasetError(f"{path}: names no files; copy it again, or pack the dataset anew")
    return found


def _refuse_shards_alone(folder: Path) -> None:
    shards = [path for suffix in SUFFIXES for path in folder.glob(f"*-00000{suffix}")]
    if shards and not (folder / "images").exists():
        raise DatasetError(
            f"{folder / INDEX}: missing, and {min(shards).name} is of no use without it; copy it, too, or pack the "
            "dataset anew"
        )


def _check(shard: Shard) -> None:
    """Raise ValueError where a line names a file elsewhere, or bytes that its shard cannot have."""
    name = PurePath(shard.shard)
    if name.name != shard.shard or "\0" in shard.shard or name.suffix not in SUFFIXES:
        raise ValueError(f"{shard.shard[:80]!r} is not the name of a shard")
    for file, (offset, size, _) in shard.files.items():
        if min(offset, size) < 0 or offset + size > shard.size:
            raise ValueError(f"{file[:80]!r} does not lie in {shard.shard}")


def _compare_size(file: Path, size: int) -> None:
    """Raise DatasetError where a shard has not the size that the index says; say what became of it, where it tells."""
    if not file.is_file():
        raise DatasetError(f"{file}: missing, and {INDEX} names it; copy it, too, or pack the dataset anew")
    if (now := file.stat().st_size) == size:
        return
    problem = parquet_problem(file) if file.suffix == ".parquet" else ""
    if not problem:
        problem = f"cut short: {now} of {size} bytes" if now < size else f"has {now} bytes, {INDEX} says {size}"
    raise DatasetError(f"{file}: {problem}; copy it again, or pack the dataset anew")
