"""A file that lies in another one: where its bytes begin, and how many there are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Packed:
    """A file inside a shard, uncompressed. It is read like a file of its own."""

    shard: Path
    name: str
    """Its path as a file of its own, relative to the dataset folder: `images/1.jpg`."""
    offset: int
    """Bytes of the shard before it."""
    size: int
    """Number of its bytes."""
    crc: int
    """CRC-32 of its bytes."""

    def __str__(self) -> str:
        return f"{self.shard}:{self.name}"

    def is_file(self) -> bool:
        """Return True, as a path does where there is a file."""
        return True


Stored = Path | Packed
"""Where the bytes of a photograph, a label or an edge map are."""
