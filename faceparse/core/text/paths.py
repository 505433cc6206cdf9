"""Checks of paths: says in words why no file can have a name, or that a link is broken. Also decodes and shows text."""

import codecs
import errno
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePath

LONGEST_NAME = 255
"""Bytes of the longest file name that file systems take."""
LONGEST_PATH = 4095
"""Bytes of the longest path that systems take."""


def path_problem(path: str | Path) -> str | None:
    """Reason why no file can have this path, and how to fix it. None if one can; the file need not exist."""
    text = str(path)
    if not text.strip():
        return "an empty path; name a file or folder"
    if "\0" in text:
        return f"{_short(text)!r} holds a NUL byte, which no path can; write it without"
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:
        return f"{_short(text)!r} holds a character that no path can; write it without"
    if len(data) > LONGEST_PATH or any(len(part) > LONGEST_NAME for part in data.split(b"/")):
        return f"{_short(text)!r} is too long for a path; choose a shorter name"
    try:
        Path(text).stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"{text!r} is a link that leads back to itself; fix the link"
        if error.errno == errno.ENAMETOOLONG:
            return f"{_short(text)!r} is too long for a path; choose a shorter name"
    return None


def utf8_problem(path: str | Path) -> str | None:
    """Like `path_problem`, for a path that is written into settings and records, which are UTF-8."""
    text = str(path)
    if (problem := path_problem(text)) is None and not _is_utf8(text):
        return f"{_short(text)!r} is not UTF-8; rename it"
    return problem


def broken_link(path: Path) -> str | None:
    """Name the broken link in a path, and its target. None if there is none."""
    for part in (path, *path.parents):
        if part.is_symlink() and not part.exists():
            return f"{part} is a broken link to {part.readlink()}"
    return None


def leads_out(folder: PurePath, name: str) -> bool:
    """Whether a path that is written as one below `folder` leads out of it: `/a`, `../a`, and `C:/a` on Windows."""
    path = type(folder)(name)
    return bool(path.anchor) or ".." in path.parts


def is_hidden(path: str) -> bool:
    """Whether a part of a path begins with a point, as a Mac's `._a.jpg` does, which is no picture."""
    return any(part.startswith(".") and part not in (".", "..") for part in path.split("/"))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder and its subfolders, by name. Links to folders are followed, each folder once."""
    seen = set[str]()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(here, name) for name in sorted(files))


def visible(text: str) -> str:
    """Return the text with control characters, which could command a terminal, as codes: `\\x1b`."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else f"\\x{ord(c):02x}" for c in text)


def decode_text(data: bytes, *, errors: str = "strict") -> str:
    """Decode UTF-8, or UTF-16 if the text begins with its byte order mark; the mark is removed.

    Raises:
        UnicodeDecodeError: the text is neither, and `errors` is strict.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace" if errors != "strict" else errors)
    return data.decode("utf-8-sig", errors)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:40]}...{text[-30:]}"
