"""Finds the photographs in a tar, such as a shard of webdataset, and reads each by its place."""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from faceparse.core.errors import DatasetError, first_line
from faceparse.core.files.local_file import ListedFile, LocalFile
from faceparse.core.files.remote import must_not_be_huge
from faceparse.core.images.photograph import Content, Found, Missing, Photograph
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.paths import is_hidden

TAR, COMPRESSED = ".tar", (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
BLOCK = 16 * 1024
"""Bytes that are fetched at least for the header of a member elsewhere."""
LONGEST_HEADER = 2**20
"""Bytes of the longest extended header that is read into memory."""
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in a tar, by its place."""

    tar: ListedFile
    name: str
    offset: int
    """Bytes of the tar before it."""
    size: int
    """Number of its bytes."""

    @property
    def stamp(self) -> str:
        """Stamp of the tar, and the place in it."""
        return f"{self.tar.stamp} {self.offset} {self.size}"

    @property
    def file(self) -> Path | None:
        """The tar, if it is a file of this machine."""
        return self.tar.path if isinstance(self.tar, LocalFile) else None

    def read(self) -> bytes:
        """Read its bytes.

        Raises:
            DatasetError: the tar cannot be read, or has changed.
        """
        where = f"{self.tar.where}/{self.name}"
        must_not_be_huge(self.size, where)
        data = self.tar.part(self.offset, self.size)
        if len(data) != self.size:
            raise DatasetError(f"{where}: cut short, {len(data)} of {self.size} bytes; copy the tar again")
        return data


def tar_photographs(tar: ListedFile, below: str) -> tuple[list[Found], list[Path]]:
    """Find the photographs in a tar, and the paths of pictures that are labels of them.

    A member is a photograph if its suffix is one. Among members with one key, which is the path up to the first point
    of the name, two kinds of PNG are labels: each, if the key has a photograph of another format or
    `KEY.photograph.png`; and one with more endings, such as `KEY.edge.png`, if there is `KEY.png`.

    Only headers are read. Nothing is unpacked, links are not followed.

    Args:
        below: path of the tar below the searched folder.

    Raises:
        DatasetError: it is no tar, is compressed, damaged or cut short, or has two members of one name.
    """
    contents = dict[str, Content]()
    for member in _members(tar):
        name = PurePosixPath(member.name).as_posix()
        if member.isdir() or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES or is_hidden(name):
            continue
        if name in contents:
            raise DatasetError(f"{tar.where}: has {name} twice; unpack it, or pack it anew")
        content: Content = TarMember(tar, name, member.offset_data, member.size)
        if not member.isreg() or member.issparse():
            problem = f"{tar.where}/{name}: a link or the like, not a file; put the photograph itself into the tar"
            content = Missing(problem, content.stamp, content.file)
        contents[name] = content
    labels = _labels(contents)
    within = PurePosixPath(below[: -len(TAR)] if below.lower().endswith(TAR) else below)
    found = [
        Found(Photograph(f"{tar.where}/{name}", content=content), f"{within}/{name}")
        for name, content in contents.items()
        if name not in labels
    ]
    return found, [Path(tar.where, name) for name in contents if name in labels]


def _labels(names: Iterable[str]) -> set[str]:
    """Names of PNGs that are labels of a photograph beside them."""
    endings: dict[str, set[str]] = {}
    for name in names:
        key, ending = _key(name)
        endings.setdefault(key, set()).add(ending)
    labels = set()
    for name in names:
        key, ending = _key(name)
        if not ending.endswith("png") or ending == "photograph.png":
            continue
        beside = endings[key] - {ending}
        if any(other == "photograph.png" or not other.endswith("png") for other in beside) or "png" in beside:
            labels.add(name)
    return labels


def _key(name: str) -> tuple[str, str]:
    """Split a path as webdataset does, at the first point of its last part."""
    folder, slash, file = name.rpartition("/")
    key, _, ending = file.partition(".")
    return folder + slash + key, ending.lower()


def _members(tar: ListedFile) -> Iterator[tarfile.TarInfo]:
    with tar.open(BLOCK) as file:
        _must_be_plain(file, tar.where)
        try:
            with tarfile.open(fileobj=cast(IO[bytes], _Bounded(file)), mode="r:") as archive:
                before = -1
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                    if member.size < 0 or archive.offset <= before:
                        raise DatasetError(f"{tar.where}: damaged tar (a size below 0); copy it again")
                    before = archive.offset
                    yield member
                end = archive.offset
        except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError) as error:
            raise DatasetError(f"{tar.where}: damaged or cut short tar ({first_line(error)}); copy it again") from None
        _must_end(file, end, tar.where)


def _must_be_plain(file: BinaryIO, where: str) -> None:
    start = file.read(8)
    file.seek(0)
    for magic, name in _MAGIC.items():
        if start.startswith(magic):
            raise DatasetError(f"{where}: compressed by {name}, so its members have no place; uncompress it first")


def _must_end(file: BinaryIO, end: int, where: str) -> None:
    """Raise DatasetError where a tar does not end as tars do: `tarfile` stops silently where it is damaged."""
    file.seek(end)
    rest = file.read(20 * tarfile.BLOCKSIZE)  # as many as most programs fill the end up to
    if len(rest) < tarfile.BLOCKSIZE:
        raise DatasetError(f"{where}: damaged or cut short tar (it does not end as tars do); copy it again")
    if rest.strip(b"\0"):
        raise DatasetError(f"{where}: damaged tar (a bad header, or something after its end); copy it again")


class _Bounded:
    """A file that is asked for a header at a time, not for gigabytes that a stranger's header tells of."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        return self._file.read(size)
