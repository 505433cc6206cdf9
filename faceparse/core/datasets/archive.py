"""Zip and tar files, unpacked with care: nothing outside the folder, no links, a bounded size and count."""

import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.files import cannot_write, make_folder
from faceparse.core.parallel import Track, untracked

MAX_FILES = 2_000_000
MAX_BYTES = 400 * 2**30
COMPLETE = ".complete"
"""Written into the folder last."""

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class _Member:
    """One file of an archive."""

    name: str
    bytes: int
    seconds: float
    """Its date, so that the unpacked file is the same each time."""


class _Archive(Protocol):
    def members(self) -> Iterator[_Member]:
        """Files alone; raises DatasetError at a link or a device."""

    def open(self, member: _Member) -> IO[bytes]: ...


def unpack(archive: Path, folder: Path, track: Track = untracked) -> None:
    """Unpack all of `archive` into `folder`; what was unpacked completely before is left alone.

    Raises:
        DatasetError: not a zip or tar, damaged, or with a member that does not belong into the folder.
        OutputError: no space.
    """
    stamp = f"{archive.stat().st_size} {archive.stat().st_mtime_ns}"
    complete = folder / COMPLETE
    if complete.is_file() and complete.read_text() == stamp:
        return
    with _opened(archive) as opened:
        members = _checked(archive, opened)
        make_folder(folder)
        _refuse_without_space(archive, folder, members)
        try:
            for member in track(members, len(members), "unpack"):
                _write(opened, member, folder / member.name)
        except OSError as error:
            if error.errno is None:  # the archive's own: a bad block
                raise
            raise cannot_write(folder, error) from error
    complete.write_text(stamp)


def _write(archive: _Archive, member: _Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, path.open("wb") as target:
        left = member.bytes
        while block := source.read(min(2**20, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{member.name} is larger than it says")
            target.write(block)
    os.utime(path, (member.seconds, member.seconds))


def _checked(archive: Path, opened: _Archive) -> list[_Member]:
    """All members, once it is known that all of them may be written."""
    members, total = [], 0
    for member in opened.members():
        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in member.name:
            raise DatasetError(f"{archive}: {member.name!r} would be written outside the folder; unpack it yourself")
        total += member.bytes
        members.append(member)
        if len(members) > MAX_FILES or total > MAX_BYTES:
            raise DatasetError(
                f"{archive}: more than {MAX_FILES} files or {MAX_BYTES // 2**30} GB; unpack it yourself and give the "
                "folder"
            )
    if not members:
        raise DatasetError(f"{archive}: an empty archive; download it again")
    return members


def _refuse_without_space(archive: Path, folder: Path, members: list[_Member]) -> None:
    needed, free = sum(member.bytes for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: {archive.name} needs {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free; free space or "
            "choose another place"
        )


@contextmanager
def _opened(archive: Path) -> Iterator[_Archive]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _Zip(archive, file)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _Tar(archive, tar)
        else:
            raise DatasetError(f"{archive}: neither a folder nor a zip or tar; unpack it and give the folder")
    except (DatasetError, OutputError):
        raise
    except _BROKEN as error:
        raise DatasetError(f"{archive}: damaged archive ({error}); download it again") from None


class _Zip:
    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path, self.file = path, file

    def members(self) -> Iterator[_Member]:
        for info in self.file.infolist():
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise DatasetError(f"{self.path}: {info.filename!r} is a link; unpack it yourself")
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, time.mktime((*info.date_time, 0, 0, -1)))

    def open(self, member: _Member) -> IO[bytes]:
        return self.file.open(member.name)


class _Tar:
    def __init__(self, path: Path, file: tarfile.TarFile) -> None:
        self.path, self.file = path, file
        self.infos: dict[str, tarfile.TarInfo] = {}  # looking a name up in the file itself reads all names

    def members(self) -> Iterator[_Member]:
        for info in self.file:
            if info.isreg():
                self.infos[info.name] = info
                yield _Member(info.name, info.size, info.mtime)
            elif not info.isdir():
                raise DatasetError(f"{self.path}: {info.name!r} is a link or a device; unpack it yourself")

    def open(self, member: _Member) -> IO[bytes]:
        file = self.file.extractfile(self.infos[member.name])
        assert file is not None
        return file
