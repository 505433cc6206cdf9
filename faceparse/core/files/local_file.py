"""A file of this machine as it was listed, beside its sister that lies elsewhere."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import open_regular
from faceparse.core.files.remote import RemoteFile


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file whose content must stay as it was listed, for places in it to mean something."""

    path: Path
    stamp: str
    """Its size and time."""

    @property
    def where(self) -> str:
        """Its path."""
        return str(self.path)

    def open(self, _block: int = 0) -> BinaryIO:
        """Open it for reading.

        Raises:
            DatasetError: it cannot be read, or has changed.
        """
        file = open_regular(self.path)
        if stamp_of(os.fstat(file.fileno())) != self.stamp:
            file.close()
            raise DatasetError(f"{self.path}: has changed since it was listed; start the command again")
        return file

    def part(self, offset: int, size: int) -> bytes:
        """Read some of its bytes; fewer where it ends before.

        Raises:
            DatasetError: it cannot be read, or has changed.
        """
        try:
            with self.open() as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise DatasetError(f"cannot read {self.path}: {error.strerror or error}") from None


ListedFile = LocalFile | RemoteFile


def list_file(path: Path) -> LocalFile:
    """Return the file as it is now.

    Raises:
        DatasetError: it cannot be read.
    """
    with open_regular(path) as file:
        return LocalFile(path, stamp_of(os.fstat(file.fileno())))


def stamp_of(found: os.stat_result) -> str:
    """Size and time of a file: text that changes with its content."""
    return f"{found.st_size} {found.st_mtime_ns}"
