"""Reading a file's bytes, with errors that name it."""

from pathlib import Path

from faceparse.core.errors import (
    DatasetError,
)
from faceparse.core.text.paths import broken_link, path_problem


def read_bytes(path: Path) -> bytes:
    """
    Raises:
        DatasetError: it cannot be read; a broken link is named as one.
    """
    if problem := path_problem(path):
        raise DatasetError(f"cannot read {problem}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {broken_link(path) or error.strerror or error}") from None
