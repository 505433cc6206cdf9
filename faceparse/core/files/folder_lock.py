"""Lets one process at a time work in a folder, without leaving a file there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faceparse.core.errors import OutputError
from faceparse.core.files.writing import make_folder
from faceparse.core.text.paths import path_problem


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Make the folder and hold it while the block runs. What was made and is still empty then is removed again.

    The lock is on the folder itself and ends with the process. Systems without `flock` have no lock.

    Raises:
        OutputError: the folder cannot be written, or another process holds it.
    """
    new = [] if path_problem(folder) else [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY) if hasattr(os, "O_DIRECTORY") else None
    try:
        if handle is not None and not _is_locked(handle):
            raise OutputError(f"{folder}: another process is writing to it; wait for it, or choose another folder")
        yield
    finally:
        if handle is not None:
            os.close(handle)
        with suppress(OSError):  # one holds something
            for one in new:
                one.rmdir()


def _is_locked(handle: int) -> bool:
    """Whether the lock is this process's now."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
