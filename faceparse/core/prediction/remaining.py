"""Finds the photographs that are still to be parsed, where an earlier `predict` has begun."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from faceparse.core.errors import DatasetError
from faceparse.core.files.remote import is_remote
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.part_row import part_sizes
from faceparse.core.prediction.prediction_ledger import Entry, Ledger
from faceparse.core.prediction.saving import FILES, Outputs


@dataclass
class Remaining:
    """The photographs that are left, and the numbers of the others."""

    new: list[Source] = field(default_factory=list)
    """Photographs to parse."""
    done: int = 0
    """Number of photographs whose outputs are there."""
    failed: int = 0
    """Number of photographs that are known to be broken."""


def remaining(sources: Sequence[Source], outputs: Outputs, ledger: Ledger, *, retry_failed: bool = False) -> Remaining:
    """Sort photographs by what the ledger and the output folder have of them.

    A photograph is parsed again if its file has changed, or if one of its outputs is missing or empty, or its part is
    missing or has another size. Outputs are looked for by listing each folder once.

    Raises:
        DatasetError: outputs of this name are of another photograph.
        OutputError: the ledger is damaged.
    """
    found = Remaining()
    listing, paths = lru_cache(maxsize=64)(_filled), outputs.files
    parts = None if outputs.to == FILES else part_sizes(outputs.folder / outputs.to)

    def has_outputs(name: str, entry: Entry) -> bool:
        if parts is not None:
            return entry.part is not None and parts.get(entry.part.name) == entry.part.size
        return all(file in listing(folder) for folder, file in map(os.path.split, paths(name, entry.faces)))

    for source in sources:
        entry = ledger.find(source.name)
        if entry is None or (entry.problem and retry_failed) or not _same(entry, source):
            found.new.append(source)
        elif entry.problem:
            found.failed += 1
        elif has_outputs(source.name, entry):
            found.done += 1
        else:
            found.new.append(source)
    return found


def _same(entry: Entry, source: Source) -> bool:
    """Whether the entry is of this photograph as it is now, also if its file was moved.

    Raises:
        DatasetError: it is of another photograph, which is still there.
    """
    if entry.path not in (source.path, "") and _another(entry.path, source):
        raise DatasetError(
            f"{source.where}: its outputs would replace those of {entry.path}, which have the same name; choose "
            "another --output"
        )
    return entry.stamp == source.stamp


def _another(path: str, source: Source) -> bool:
    """Whether the photograph at `path` is still there, and is not the source. Elsewhere is not looked at: it is."""
    if is_remote(path):
        return True
    file = _holder(Path(path))
    if file is None:
        return False
    if not source.path or is_remote(source.path):
        return True
    own = _holder(Path(source.path))
    if own is None:  # reading it will say so
        return False
    return not file.samefile(own) or Path(path).relative_to(file) != Path(source.path).relative_to(own)


def _holder(path: Path) -> Path | None:
    """The file, or the tar or table that it would lie in; None if there is none."""
    return path if path.exists() else next((parent for parent in path.parents if parent.is_file()), None)


def _filled(folder: str) -> frozenset[str]:
    """Names of the files in a folder that are not empty: after a power failure, a file may have lost its content."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file() and entry.stat().st_size)
    except OSError:
        return frozenset()
