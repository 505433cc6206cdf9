"""Unpack zip and tar files safely: nothing outside the folder, no links, a limited size and count, nothing missing.

Checks all that a format tells about its own completeness: the checksums of compressed data, which are known only at a
stream's end, the checksums of a tar's headers, and the blocks of zeros that end a tar.
"""

import hashlib
import lzma
import os
import shutil
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, Protocol

from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.files.writing import cannot_write, make_folder
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.text.paths import LONGEST_NAME

MAX_FILES = 2_000_000
MAX_BYTES = 400 * 2**30
COMPLETE = ".complete"
"""Name of the file that is written into the folder last. It holds the identity of the archive that was unpacked."""

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RuntimeError,  # also NotImplementedError: an unknown kind of compression
    LookupError,
    ValueError,
)
"""Errors that the libraries raise on damaged archives."""

_ZIP = (b"PK\3\4", b"PK\5\6")
_TARS: tuple[tuple[int, bytes, Literal["r:gz", "r:bz2", "r:xz", "r:"]], ...] = (
    (0, b"\x1f\x8b", "r:gz"),
    (0, b"BZh", "r:bz2"),
    (0, b"\xfd7zXZ\0", "r:xz"),
    (257, b"ustar", "r:"),
)
"""For each kind of tar: position of its magic bytes, these bytes, and the mode that opens it."""


@dataclass(frozen=True)
class _Member:
    """One file of an archive."""

    name: str
    bytes: int
    seconds: float
    """Its date (seconds since 1970). The unpacked file gets the same date each time."""


class _Archive(Protocol):
    def members(self) -> Iterator[_Member]:
        """Yield the files only; raise DatasetError at a link or a device."""

    def open(self, member: _Member) -> IO[bytes]: ...


def identity(archive: Path) -> str:
    """SHA-256 of the archive's content: size and date alone do not tell two archives apart.

    Raises:
        DatasetError: the archive cannot be read.
    """
    try:
        with archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"cannot read {archive}: {error.strerror or error}") from None


def unpack(archive: Path, folder: Path, track: Track = untracked, *, known: str | None = None) -> None:
    """Unpack all of `archive` into `folder`, and remove everything else from it.

    A folder that already holds all of this very archive is left alone.

    Args:
        known: the archive's `identity`, if it is already computed.

    Raises:
        DatasetError: not a zip or tar, damaged, or a member does not belong into the folder.
        OutputError: no space, or the folder cannot be written.
    """
    known = known or identity(archive)
    complete = folder / COMPLETE
    if complete.is_file() and complete.read_text("utf-8", "replace") == known:
        return
    with _opened(archive) as opened:
        members = _checked(archive, opened)
        try:
            _empty(folder)  # files of another archive, or half of this one
        except OSError as error:
            raise cannot_write(folder, error) from error
        make_folder(folder)
        _refuse_without_space(archive, folder, members)
        try:
            for member in track(members, len(members), "unpack"):
                _write(_content(archive, opened, member), folder / member.name)
                os.utime(folder / member.name, (member.seconds, member.seconds))
            complete.write_text(known, "utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error
        except DatasetError:  # the files of a damaged archive are useless
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write(blocks: Iterator[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        for block in blocks:
            target.write(block)


def _content(archive: Path, opened: "_Archive", member: _Member) -> Iterator[bytes]:
    """Yield the blocks of a member, up to its end, where its checksum is compared."""
    with _damage_named(archive), opened.open(member) as source:
        left = member.bytes
        while block := source.read(min(2**20, left + 1)):
            left -= len(block)
            if left < 0:
                break
            yield block
        if left:
            raise ValueError(f"{member.name!r} is {'larger' if left < 0 else 'smaller'} than it says")


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{archive}: damaged archive ({reason}); download it again") from None


def _checked(archive: Path, opened: _Archive) -> list[_Member]:
    """All members, after a check that each of them may be written."""
    with _damage_named(archive):
        return _all_members(archive, opened)


def _all_members(archive: Path, opened: _Archive) -> list[_Member]:
    members: dict[str, _Member] = {}  # where two have the same name, the later one counts, as everywhere
    total = 0
    for member in opened.members():
        path = PurePosixPath(member.name.replace("\\", "/"))
        if not path.parts or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
            raise DatasetError(f"{archive}: {member.name[:40]!r} cannot be the name of a file; unpack it yourself")
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in member.name:
            raise DatasetError(f"{archive}: {member.name!r} would be written outside the folder; unpack it yourself")
        total += member.bytes
        members[member.name] = member
        if len(members) > MAX_FILES or total > MAX_BYTES:
            raise DatasetError(
                f"{archive}: more than {MAX_FILES} files or {MAX_BYTES // 2**30} GB; unpack it yourself and give the "
                "folder"
            )
    if not members:
        raise DatasetError(f"{archive}: an empty archive; download it again")
    files = {PurePosixPath(name) for name in members}
    if both := min((str(parent) for path in files for parent in path.parents if parent in files), default=None):
        raise DatasetError(f"{archive}: {both!r} is a file and a folder in it; unpack it yourself and give the folder")
    return list(members.values())


def _refuse_without_space(archive: Path, folder: Path, members: list[_Member]) -> None:
    needed, free = sum(member.bytes for member in members), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{folder}: {archive.name} needs {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free; free space or "
            "choose another place"
        )


@contextmanager
def _opened(archive: Path) -> Iterator[_Archive]:
    with _damage_named(archive):
        file = _open(archive)
    with file:
        yield _Zip(archive, file) if isinstance(file, zipfile.ZipFile) else _Tar(archive, file)


def _open(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    """Open an archive by its first bytes. A tar may end with a zip, and a damaged archive keeps its kind."""
    with archive.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    if start.startswith(_ZIP):
        return zipfile.ZipFile(archive)
    if mode := next((mode for at, magic, mode in _TARS if start.startswith(magic, at)), None):
        return tarfile.open(archive, mode)
    if tarfile.is_tarfile(archive):
        return tarfile.open(archive)
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    raise DatasetError(f"{archive}: neither a folder nor a zip or tar; unpack it and give the folder")


def _date(seconds: float) -> float:
    """`seconds`, or 0 (1970) where a file cannot have that date."""
    return seconds if 0 <= seconds < 2**33 else 0.0


class _Zip:
    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path, self.file = path, file

    def members(self) -> Iterator[_Member]:
        for info in self.file.infolist():
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise DatasetError(f"{self.path}: {info.filename!r} is a link; unpack it yourself")
            if info.flag_bits & 1:
                raise DatasetError(f"{self.path}: is encrypted; unpack it with its password and give the folder")
            if not info.is_dir():
                seconds = _date(time.mktime((*info.date_time, 0, 0, -1)))
                yield _Member(info.filename, info.file_size, seconds)

    def open(self, member: _Member) -> IO[bytes]:
        return self.file.open(member.name)


class _Tar:
    def __init__(self, path: Path, file: tarfile.TarFile) -> None:
        self.path, self.file = path, file
        self.infos: dict[str, tarfile.TarInfo] = {}  # to look up a name in the file itself reads all names

    def members(self) -> Iterator[_Member]:
        for info in self.file:
            if info.issparse():
                raise DatasetError(f"{self.path}: {info.name!r} is a sparse file; pack it anew without")
            if info.isreg():
                if info.size < 0:
                    raise tarfile.ReadError(f"{info.name!r} has a negative size")
                self.infos[info.name] = info
                yield _Member(info.name, info.size, _date(info.mtime))
            elif not info.isdir():
                raise DatasetError(f"{self.path}: {info.name!r} is a link or a device; unpack it yourself")
        self._must_be_ended()

    def _must_be_ended(self) -> None:
        """Raise ReadError unless the tar ends with its end blocks.

        Python's library takes any invalid header for the end. The bytes after the end are read, too: a compressed
        tar's checksum comes last.
        """
        file = self.file.fileobj
        assert file is not None
        file.seek(self.file.offset)
        end = file.read(2 * tarfile.BLOCKSIZE)
        if end.strip(b"\0"):
            raise tarfile.ReadError(f"no valid header at byte {self.file.offset}")
        if len(end) < 2 * tarfile.BLOCKSIZE:
            raise tarfile.ReadError("cut short: its end is missing")
        while block := file.read(2**20):
            if block.strip(b"\0"):
                raise tarfile.ReadError("files follow its end")

    def open(self, member: _Member) -> IO[bytes]:
        file = self.file.extractfile(self.infos[member.name])
        assert file is not None
        return file
