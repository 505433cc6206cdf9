"""Writes photographs and their outputs to a tar that the library webdataset reads: KEY.jpg, KEY.png, KEY.json."""

import json
import tarfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from faceparse.core.datasets.shard_tar import ENDINGS, add_member, photograph_ending
from faceparse.core.prediction.part_row import PartRow, utf8
from faceparse.core.text.toml_json import parse_json


def write_tar_part(file: BinaryIO, stem: str, rows: Sequence[PartRow]) -> None:
    """Write the rows to an open file. Keys begin with `stem`, which no other part has.

    Raises:
        OSError: it cannot be written.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, row in enumerate(rows):
            key = f"{stem}-{number:06d}"
            add_member(tar, key + photograph_ending(row.suffix), row.photograph)
            if row.labels is not None:
                add_member(tar, key + ENDINGS["label"], row.labels)
            runs = {} if row.coco is None else {"coco": row.coco}
            described = {"name": utf8(row.name), **row.described, "source": utf8(row.described["source"]), **runs}
            add_member(tar, f"{key}.json", json.dumps(described).encode())


def tar_names(path: Path) -> list[str]:
    """Names of the photographs in a file, as text that `utf8` gives.

    Raises:
        ValueError: it is no whole file of ours.
        OSError: it cannot be read.
    """
    return [one.name for one in _samples(path)]


def copy_tar_part(path: Path, file: BinaryIO, without: Collection[str]) -> None:
    """Copy a file to an open file, except the photographs of some names.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read, or the copy cannot be written.
    """
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for one in _samples(path):
            if one.name not in without:
                for member, data in one.files.items():
                    add_member(tar, member, data)


class _Sample(NamedTuple):
    name: str
    files: dict[str, bytes]
    """Name in the tar -> content, of all files of a photograph."""


def _samples(path: Path) -> Iterator[_Sample]:
    """Yield the photographs, whose last file is the JSON."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    raise ValueError(f"{member.name[:80]!r} is no plain file")
                files[member.name] = content.read()
                if member.name.endswith(".json"):
                    described = parse_json(files[member.name])
                    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
                        raise ValueError(f"{member.name[:80]!r} has no 'name'")
                    yield _Sample(described["name"], files)
                    files = {}
    except tarfile.TarError as error:
        raise ValueError(str(error)) from None
    if files:
        raise ValueError("ends within a photograph's files")
