"""Reads a file's bytes, with errors that name the file."""

import stat
from pathlib import Path

from faceparse.core.errors import DatasetError
from faceparse.core.text.paths import broken_link, path_problem


def read_bytes(path: Path, *, pipes: bool = False) -> bytes:
    """Read a whole file.

    Args:
        pipes: also read what is no regular file, such as a shell's `<(find ...)`; it may never end.

    Raises:
        DatasetError: it cannot be read; a broken link is named as one.
    """
    if problem := path_problem(path):
        raise DatasetError(f"cannot read {problem}")
    try:
        mode = path.stat().st_mode
        if not (pipes or stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise DatasetError(f"cannot read {path}: it is no regular file; replace it by one")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {broken_link(path) or error.strerror or error}") from None
