"""Files elsewhere, by addresses such as `s3://bucket/photos`: fsspec lists and reads them.

fsspec's own configuration, files and FSSPEC_* variables, says what a store needs: an endpoint, credentials, timeouts.
"""

import glob
import io
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from faceparse.core.errors import DatasetError, FaceparseError, ResourceError, first_line
from faceparse.core.limits import LARGEST_PHOTOGRAPH
from faceparse.core.text.address import public_address, without_secrets
from faceparse.core.text.patterns import any_case

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
R = TypeVar("R")

_ASKED = 16
"""Questions that are asked at a time."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]*)://")
_LOCAL = ("file", "local")
_WEB = ("http", "https")

_TRIES = 2
"""s3fs tries so often in two places, one within the other, and so does botocore in a third: eight times, not 125."""
_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    protocol: {"config_kwargs": {"retries": {"mode": "standard", "total_max_attempts": _TRIES}}}
    for protocol in ("s3", "s3a")
}
"""Protocol -> options; those of fsspec's configuration come first."""

_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "Last-Modified", "modified", "updated", "created")
"""Names that protocols give to the text or the time that changes with a content."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file elsewhere, as it was listed."""

    address: str
    """With user and password, if they were typed."""
    size: int | None
    """Number of its bytes; None where the place does not tell."""
    stamp: str
    """Text that changes with its content."""

    @property
    def where(self) -> str:
        """The address without secrets."""
        return public_address(self.address)

    @property
    def file(self) -> Path | None:
        """Nowhere: it is no file of this machine."""
        return None

    def open(self, block: int) -> BinaryIO:
        """Open it for reading; `block` bytes at least are fetched at a time.

        Raises:
            DatasetError: it cannot be read, also later, while it is read.
        """
        with _told(self.address):
            system, path = _system(self.address)
            return cast(BinaryIO, _Reader(system.open(path, "rb", block_size=block), self.address))

    def part(self, offset: int, size: int) -> bytes:
        """Read some of its bytes; fewer where it ends before.

        Raises:
            DatasetError: it cannot be read.
        """
        with _told(self.address):
            system, path = _system(self.address)
            return bytes(system.cat_file(path, start=offset, end=offset + size)) if size else b""

    def read(self) -> bytes:
        """Read it whole.

        Raises:
            DatasetError: it cannot be read, has changed since it was listed, or is no photograph by its size.
        """
        if self.size == 0:
            return b""
        must_not_be_huge(self.size or 0, self.where)
        if self.size is None:
            with self.open(2**20) as file:
                data = file.read(LARGEST_PHOTOGRAPH + 1)
            must_not_be_huge(len(data), self.where)
            return data
        data = self.part(0, self.size + 1)  # one more: it may have grown
        if len(data) != self.size:
            raise DatasetError(
                f"{self.where}: {len(data)} bytes, {self.size} were listed; it has changed: start the command again"
            )
        return data


def must_not_be_huge(size: int, where: str) -> None:
    """Raise DatasetError if a file has more bytes than any photograph."""
    if size > LARGEST_PHOTOGRAPH:
        raise DatasetError(f"{where}: {size} bytes are too many for a photograph; make it smaller")


def protocol_of(text: str) -> str:
    """Protocol of an address in small letters, as `s3` of `s3://bucket`; empty if the text is none."""
    found = _ADDRESS.match(text)
    return found[1].lower() if found else ""


def is_remote(text: str) -> bool:
    """Whether the text is the address of a place that is not this machine's file system."""
    return protocol_of(text) not in ("", *_LOCAL)


def without_file_protocol(text: str) -> str:
    """Return the path of a local address, `/a.jpg` of `file:///a.jpg`; any other text unchanged."""
    return text.partition("://")[2] if protocol_of(text) in _LOCAL else text


def path_part(address: str) -> str:
    """Return an address without what follows its path: on the web, `?` begins a query."""
    return re.split(r"[?#]", address, maxsplit=1)[0] if protocol_of(address) in _WEB else address


def find_remote(address: str, *, recursive: bool) -> tuple[str, list[tuple[RemoteFile, str]]]:
    """Find the files at an address.

    Return `file`, `folder` or `pattern`, and each file with its path below the folder, or below what is fixed in the
    pattern. Only listings are fetched.

    Raises:
        DatasetError: there is no such place, or it refuses, or does not answer.
        ResourceError: the package of its protocol is not installed.
    """
    magic = "*" in address if protocol_of(address) in _WEB else glob.has_magic(address)
    with _told(address):
        system, path = _system(address)
        system.invalidate_cache()
        if not address.endswith("/") and not (magic and not system.isfile(path)):
            info = system.info(path)
            if info.get("type") != "directory":
                return "file", [(_file(address, info), path_part(address).rstrip("/").rpartition("/")[2])]
        folder = _fixed(address) if magic else address.rstrip("/")
        base = _system(folder)[1].rstrip("/")
        if magic:
            found = system.glob(any_case(path), detail=True)
        elif recursive:
            found = system.find(path, detail=True)
        else:
            found = {info["name"]: info for info in system.ls(path, detail=True)}
        files = list[tuple[RemoteFile, str]]()
        for name, info in sorted(found.items()):
            below = name.removeprefix(base).lstrip("/")
            if info.get("type") != "directory" and below and not below.endswith("/"):
                files.append((_file(f"{folder}/{below}", info), below))
        return "pattern" if magic else "folder", files


def find_remote_file(address: str) -> RemoteFile:
    """Ask for size and stamp of one file.

    Raises:
        DatasetError: there is none, or its place refuses, or does not answer.
    """
    with _told(address):
        system, path = _system(address)
        return _file(address, system.info(path))


def ask_many(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`function(item)` for each item, in order, some at a time: each waits for an answer from elsewhere."""
    left = iter(items)
    with ThreadPoolExecutor(_ASKED) as pool:
        while some := list(islice(left, 64 * _ASKED)):
            yield from pool.map(function, some)


def _fixed(pattern: str) -> str:
    """Folder before the first part of a pattern that is not fixed."""
    start = min(pattern.find(sign) for sign in "*?[" if sign in pattern)
    return pattern[:start].rpartition("/")[0]


def _file(address: str, info: dict[str, Any]) -> RemoteFile:
    size = info.get("size")
    # Where nothing tells whether it has changed, each listing takes it for changed.
    mark = next((str(info[key]) for key in _MARKS if info.get(key)), uuid.uuid4().hex)
    return RemoteFile(address, size, f"{size} {mark}")


def _system(address: str) -> tuple["AbstractFileSystem", str]:
    """Return fsspec's file system, which it keeps, and the path in it.

    Raises:
        DatasetError: the address is chained: it could name further files, of this machine, too.
    """
    import fsspec
    from fsspec.config import conf

    if "::" in address:
        raise DatasetError(f"{public_address(address)}: addresses with :: are not read; name one place")
    protocol = protocol_of(address)
    given = conf.get(protocol, {})
    options = {key: {**value, **given.get(key, {})} for key, value in _OPTIONS.get(protocol, {}).items()}
    system, path = fsspec.url_to_fs(address, **options)
    if protocol in _OPTIONS:
        system.retries = _TRIES
    return system, path


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn whatever fsspec and the package of a protocol raise into one line."""
    where = public_address(address)
    try:
        yield
    except FaceparseError:
        raise
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or "the package that it needs"
        raise ResourceError(f"{where}: {first_line(error)}; 'pip install {package}'") from None
    except FileNotFoundError:
        raise DatasetError(f"{where}: no such file, folder or bucket; correct the address") from None
    except PermissionError as error:
        raise DatasetError(f"{where}: access refused ({_reason(error)}); check the credentials") from None
    except Exception as error:  # each protocol has errors of its own
        if "Protocol not known" in str(error):
            raise DatasetError(f"{where}: fsspec knows no {protocol_of(address)}://; correct the address") from None
        raise DatasetError(f"cannot read {where}: {_reason(error)}; try again") from None


def _reason(error: Exception) -> str:
    return without_secrets(first_line(error))


class _Reader(io.RawIOBase):
    """A file of fsspec whose errors are ours, whichever library reads it."""

    def __init__(self, file: Any, address: str) -> None:
        self._file, self._address = file, address

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        with _told(self._address):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with _told(self._address):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
