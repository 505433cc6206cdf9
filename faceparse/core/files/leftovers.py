"""Makes temporary files and folders beside their targets, and removes those of processes that were killed.

A process that fills one holds a lock on it. The lock ends with the process, however that ends; then the next process
may remove the file or folder. On a system without locks nobody can tell, and they stay.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from faceparse.core.files.locks import have_locks, lock, open_folder, try_lock

_SEEN: set[Path] = set()


def beside(target: Path, ending: str) -> Path:
    """Return a new hidden path in the target's folder; its name is short even if the target's is long.

    With the ending `tmp` it is half written. With `old` it holds what was there before, under its own name.
    """
    return target.with_name(f".faceparse-{secrets.token_hex(6)}.{ending}")


@contextmanager
def new_file(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Make a temporary file beside `target` and open it for writing.

    It is locked until the block ends, even if the file is closed before.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = beside(target, "tmp")
        file = path.open("xb")
        if not have_locks():  # nothing else may hold it open there: it could not be renamed
            yield path, file
            return
        own = os.dup(file.fileno())
        if _hold(own, path):
            break
        os.close(own)
        file.close()
    try:
        yield path, file
    finally:
        os.close(own)


@contextmanager
def new_folder(target: Path, ending: str) -> Iterator[Path]:
    """Make a temporary folder beside `target`, locked until the block ends.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        path = beside(target, ending)
        path.mkdir()
        try:
            own = open_folder(path)
        except FileNotFoundError:
            continue  # another process took it for a leftover
        if own is None or _hold(own, path):
            break
        os.close(own)
    try:
        yield path
    finally:
        if own is not None:
            os.close(own)


def _hold(handle: int, path: Path) -> bool:
    """Lock a new file or folder. Return False if another process took it for a leftover and removed it."""
    lock(handle)  # waits while another process looks at it
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def remove_once(folder: Path) -> None:
    """Call `remove_leftovers` when this process writes into the folder for the first time."""
    if folder not in _SEEN:
        _SEEN.add(folder)
        remove_leftovers(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written in `folder`.

    What they had put aside to replace it goes back to its place, if that is empty.
    """
    with suppress(OSError):  # if the folder cannot be read, writing will say so
        for leftover in [*folder.glob(".faceparse-*.tmp"), *folder.glob(".faceparse-*.old")]:
            with _alone(leftover) as alone:
                if not alone:
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


@contextmanager
def _alone(leftover: Path) -> Iterator[bool]:
    """Yield whether no process holds the lock; if so, hold it until the block ends."""
    if not have_locks():
        yield False
        return
    try:
        handle = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield try_lock(handle) is True
    finally:
        os.close(handle)
