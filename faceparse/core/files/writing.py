"""Writes whole files and folders: each holds its old content or all of the new content."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from faceparse.core.errors import OutputError
from faceparse.core.files.leftovers import new_file, new_folder, remove_leftovers, remove_once
from faceparse.core.text.paths import path_problem


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new content.

        write_atomic(folder / "labels.png", encode_png(label))

    Raises:
        OutputError: as `write_atomic_with`.
    """
    write_atomic_with(path, lambda file: file.write(data))


def write_atomic_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; `path` is not changed.
    """
    with atomic_file(path) as file:
        write(file)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`. It replaces `path` when the block is done, and is removed if it fails.

    Raises:
        OutputError: as `write_atomic_with`; or `path` is no regular file, but a device or the like.
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


def write_files_with(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a file named like `path`, and files beside it, in a temporary folder. Then put them in place.

    `fill` gets the path of that file. `path` itself comes last. A process that is killed between two of them leaves
    files that do not belong together, so `path` must tell which ones it needs.

    Raises:
        OutputError: as `write_atomic_with`; nothing is changed.
    """
    target = _target(path)
    make_folder(target.parent)
    remove_once(target.parent)
    try:
        with new_folder(target, "tmp") as temporary:
            try:
                fill(temporary / target.name)
                for file in sorted(temporary.iterdir(), key=lambda file: file.name == target.name):
                    file.replace(_target(target.parent / file.name))
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def refuse_other_files(folder: Path, ours: Collection[str]) -> None:
    """Check that a folder may be replaced: that it is new, or holds nothing but files of these names.

    Raises:
        OutputError: it holds something else, which would be lost.
    """
    others = sorted(path.name for path in folder.iterdir() if path.name not in ours) if folder.is_dir() else []
    if others:
        raise OutputError(f"cannot write {folder}: it holds other files ({others[0]}); name a new folder")


def write_folder_with(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` fill a temporary folder beside `path`, then replace the folder at `path` by it.

    Raises:
        OutputError: the place cannot be written, or `path` is a file; it is not changed.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    make_folder(path.parent)
    target = Path(os.path.realpath(path))  # keep a link and write its target
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
    """Return the path to write: the target of a link, which is kept, or `path` itself.

    Raises:
        OutputError: no file can have this name; or a device, a pipe or a socket is there. Renaming a file to it would
            replace it: as root, even /dev/null.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    target = Path(os.path.realpath(path))
    try:
        mode = target.lstat().st_mode
    except OSError:  # nothing is there yet, or it cannot be reached: writing will say so
        return target
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(f"cannot write {path}: it is no regular file; choose another place")
    return target


def refuse_links_out(folder: Path, *paths: Path) -> None:
    """Refuse to write through links that lead out of a folder: in a stranger's folder, they may lead anywhere.

    Raises:
        OutputError: one of `paths`, which are in `folder`, would be written outside it.
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
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return an error that says why `path` cannot be written, and how to fix it."""
    in_the_way = error.errno in (errno.EEXIST, errno.ENOTDIR)  # a file where a folder should be
    fix = "choose another place" if in_the_way else "free space or choose another place"
    fix = {errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "fix the link"}.get(error.errno or 0, fix)
    return OutputError(f"cannot write {path}: {error.strerror or error}; {fix}")


def make_folder(path: Path) -> None:
    """Create a folder and prove that it can be written, before long work on its content.

    Raises:
        OutputError: it cannot be made or written. No new folder is left behind.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    new = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        with suppress(OSError):  # not made, or another process uses it
            for one in new:
                one.rmdir()
        raise cannot_write(path, error) from error
