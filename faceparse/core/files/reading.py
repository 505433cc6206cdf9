"""Reads a file's bytes, with errors that name the file."""

import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from faceparse.core.errors import DatasetError
from faceparse.core.files.packed import Packed, Stored
from faceparse.core.text.paths import broken_link, path_problem


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. A pipe or a device in its place could be waited for without end.

    Raises:
        DatasetError: it cannot be opened, or is no regular file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DatasetError(f"cannot read {path}: it is no regular file; replace it by one")
    return os.fdopen(handle, "rb")


def read_bytes(path: Stored, *, pipes: bool = False) -> bytes:
    """Read a whole file, or one inside a shard.

    Args:
        pipes: also read what is no regular file, such as a shell's `<(find ...)`; it may never end.

    Raises:
        DatasetError: it cannot be read; a broken link is named as one. Or the shard was changed since it was packed.
    """
    if isinstance(path, Packed):
        return _read_packed(path)
    if problem := path_problem(path):
        raise DatasetError(f"cannot read {problem}")
    try:
        mode = path.stat().st_mode
        if not (pipes or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DatasetError(f"cannot read {path}: it is no regular file; replace it by one")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {broken_link(path) or error.strerror or error}") from None


def read_start(path: Stored, count: int) -> bytes:
    """Read the first `count` bytes, or all where there are fewer.

    Raises:
        DatasetError: as `read_bytes`.
    """
    if isinstance(path, Packed):
        return _read_packed(path)[:count]
    with open_regular(path) as file:
        return file.read(count)


def count_bytes(path: Stored) -> int:
    """Size of a file that exists, in bytes."""
    return path.size if isinstance(path, Packed) else path.stat().st_size


def _read_packed(file: Packed) -> bytes:
    try:
        with open_regular(file.shard) as shard:
            shard.seek(file.offset)
            data = shard.read(file.size)
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror or error}") from None
    if len(data) != file.size or zlib.crc32(data) != file.crc:
        raise DatasetError(f"{file}: not the bytes that were packed; copy {file.shard.name} again, or pack it anew")
    return data
