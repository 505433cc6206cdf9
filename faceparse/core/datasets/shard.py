"""A shard: many photographs' files in one, and where each lies in it."""

from dataclasses import dataclass

COLUMNS = {"image": True, "label": True, "edge": True, "label_raw": False, "project": False}
"""File of a photograph -> whether every photograph has it."""


@dataclass(frozen=True)
class Row:
    """One photograph and its files."""

    id: str
    names: dict[str, str]
    """File, one of `COLUMNS` -> its path in the layout."""
    contents: dict[str, bytes]
    """The same files' bytes."""


@dataclass(frozen=True)
class Shard:
    """Where a shard holds which file: a line of the index."""

    shard: str
    """Name of the file, which lies beside the index."""
    size: int
    """Number of its bytes."""
    files: dict[str, tuple[int, int, int]]
    """Path in the layout -> bytes before it, number of its bytes, their CRC-32."""
