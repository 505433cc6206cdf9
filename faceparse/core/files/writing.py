"""Writing files and folders whole: each holds its old content or all of the new."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from faceparse.core.errors import OutputError
from faceparse.core.files.leftovers import new_file, new_folder, remove_leftovers, remove_once
from faceparse.core.text.paths import path_problem


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new one."""
    write_atomic_with(path, lambda file: file.write(data))


def write_atomic_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; `path` is left as it was.
    """
    with atomic_file(path) as file:
        write(file)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path`, put in place once the block has filled it; removed where it did not.

    Raises:
        OutputError: as `write_atomic_with`; or something that is no file stands there, such as a device.
    """
    target = _target(path)
    remove_once(target.parent)
    try:
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
        with new_file(target) as (temporary, file):
            try:
                with file:
                    yield file
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise cannot_write(path, error) from error


def write_folder_with(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` fill a temporary folder beside `path`, then put it in the place of the folder that was there.

    Raises:
        OutputError: the place cannot be written, or `path` is a file; it is left as it was.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    make_folder(path.parent)
    target = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    if target.exists() and not target.is_dir():
        raise OutputError(f"cannot write {path}: it is a file; choose another place")
    remove_leftovers(target.parent)
    try:
        with new_folder(target, "tmp") as temporary, new_folder(target, "old") as old:
            try:
                fill(temporary)
                if target.exists():
                    target.replace(old / target.name)
                try:
                    temporary.replace(target)
                except OSError:
                    if (old / target.name).exists():
                        (old / target.name).replace(target)
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _target(path: Path) -> Path:
    """Where a file at `path` is written: a link stays, and what it leads to is written.

    Raises:
        OutputError: no file can be named so.
        OutputError: a device, a pipe or a socket stands there. A rename would put a file in its place: as root, in that
            of /dev/null.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    target = Path(os.path.realpath(path))
    try:
        mode = target.lstat().st_mode
    except OSError:  # nothing there yet, or nothing that can be reached: writing will say so
        return target
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(f"cannot write {path}: it is no regular file; choose another place")
    return target


def refuse_links_out(folder: Path, *paths: Path) -> None:
    """Refuse to write into a folder through links that lead out of it: with files of strangers, anywhere.

    Raises:
        OutputError: one of `paths`, which lie in `folder`, would be written elsewhere.
    """
    home = os.path.realpath(folder)
    for path in paths:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(home):
            raise OutputError(
                f"cannot write {path}: a link leads to {real}, outside {folder}; put a file or folder of its own there"
            )


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    in_the_way = error.errno in (errno.EEXIST, errno.ENOTDIR)  # a file where a folder should be
    fix = "choose another place" if in_the_way else "free space or choose another place"
    fix = {errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "fix the link"}.get(error.errno or 0, fix)
    return OutputError(f"cannot write {path}: {error.strerror or error}; {fix}")


def make_folder(path: Path) -> None:
    """Create `path` and prove that it can be written, before long work is spent on filling it."""
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error
