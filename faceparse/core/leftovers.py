"""Temporary files and folders beside what they will be: whose process was killed, they are removed by the next one.

Whoever fills one holds a lock on it, which ends with the process, however that ends.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SEEN: set[Path] = set()


def beside(place: Path, ending: str) -> Path:
    """A new hidden name in the same folder, short whatever the place's own: `tmp` is half written, `old` holds what
    stood in the place, under its own name.
    """
    return place.with_name(f".faceparse-{secrets.token_hex(6)}.{ending}")


@contextmanager
def held(handle: int) -> Iterator[None]:
    """Lock an open temporary file or folder, also after its handle is closed by others."""
    own = os.dup(handle)
    try:
        with suppress(OSError):  # a file system without locks: its leftovers stay
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(own)


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make a temporary folder and lock it."""
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    try:
        with held(handle):
            yield
    finally:
        os.close(handle)


def remove_once(folder: Path) -> None:
    """`remove_leftovers`, when this process first writes into the folder."""
    if folder not in _SEEN:
        _SEEN.add(folder)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed had half written into `folder`; what they had put aside to replace it goes
    back to its place, where that is empty.
    """
    with suppress(OSError):  # a folder that cannot be read: writing will say so
        for leftover in [*folder.glob(".faceparse-*.tmp"), *folder.glob(".faceparse-*.old")]:
            if not _is_alone(leftover):
                continue
            if leftover.is_dir() and not leftover.is_symlink():
                if leftover.suffix == ".old":
                    _put_back(leftover)
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _put_back(old: Path) -> None:
    for one in old.iterdir():
        if not (old.parent / one.name).exists():
            one.replace(old.parent / one.name)


def _is_alone(leftover: Path) -> bool:
    """Whether no process holds it."""
    try:
        handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
