"""An encoded photograph that is not read yet, wherever its bytes are."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from faceparse.core.errors import DatasetError
from faceparse.core.files.local_file import stamp_of
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.remote import is_remote


class Content(Protocol):
    """Bytes that are not a file of this machine. It is small, and can be sent to other processes."""

    @property
    def stamp(self) -> str:
        """Text that changes with the bytes. Nothing is fetched for it."""

    @property
    def file(self) -> Path | None:
        """The file of this machine that the bytes lie in, if they do."""

    def read(self) -> bytes:
        """Read the bytes.

        Raises:
            DatasetError: they cannot be read.
        """


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph, or a video, that is not read yet."""

    where: str
    """The path as it was typed or found, an address, `stdin`; or the path of a tar or a table, then that in it."""
    content: Content | None = field(default=None, kw_only=True)
    """Its bytes; None where it is the file at `where`."""

    @property
    def path(self) -> str:
        """Absolute path or address; empty where there is none."""
        if isinstance(self.content, Given):
            return ""
        return self.where if is_remote(self.where) else str(Path(self.where).absolute())

    @property
    def file(self) -> Path | None:
        """The file of this machine that its bytes lie in: its own, or that of a tar or a table."""
        return self.content.file if self.content else Path(self.where)

    @property
    def stamp(self) -> str:
        """Text that changes with its content, such as size and time of its file. Empty if there is none."""
        if self.content:
            return self.content.stamp
        try:
            return stamp_of(Path(self.where).stat())
        except (OSError, ValueError):
            return ""

    def bytes(self) -> bytes:
        """Read the encoded photograph.

        Raises:
            DatasetError: it cannot be read.
        """
        return self.content.read() if self.content else read_bytes(Path(self.where))


class Found(NamedTuple):
    """A photograph that a search found."""

    photograph: Photograph
    below: str
    """Its path below what was searched, with `/` between folders. A tar or a table is a folder in it."""


@dataclass(frozen=True, slots=True)
class Given:
    """Bytes that are here already."""

    data: bytes

    @property
    def stamp(self) -> str:
        """Checksum of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def file(self) -> Path | None:
        """Nowhere."""
        return None

    def read(self) -> bytes:
        """Return the bytes."""
        return self.data


@dataclass(frozen=True, slots=True)
class Missing:
    """A photograph that cannot be read, as its listing shows."""

    problem: str
    """One line that names it."""
    stamp: str
    file: Path | None = None

    def read(self) -> bytes:
        """Raise DatasetError."""
        raise DatasetError(self.problem)
