"""Locks on open files and folders, where the system has them: Linux, macOS and other Unix systems, not Windows."""

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where neither a folder nor a file that somebody else replaces can be held open
    fcntl = None  # type: ignore[assignment]


def have_locks() -> bool:
    """Whether this system has locks."""
    return fcntl is not None


def open_folder(folder: Path) -> int | None:
    """Open a folder, in order to lock it or to flush it. None where the system cannot.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(folder, os.O_RDONLY) if have_locks() else None


def lock(handle: int) -> None:
    """Lock an open file or folder until the handle is closed; wait for a process that holds it.

    A file system without locks is left as it is.
    """
    if have_locks():
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)


def try_lock(handle: int) -> bool | None:
    """Lock an open file or folder until the handle is closed.

    Returns:
        True: it is locked now. False: another process holds it. None: there are no locks here.
    """
    if not have_locks():
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True
