"""The gate of paths: what can be no file's name is said in words, and so are broken links; and texts of names."""

import codecs
import errno
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

LONGEST_NAME = 255
"""Bytes of a file's name that file systems take."""
LONGEST_PATH = 4095
"""Bytes of a whole path that systems take."""


def path_problem(path: str | Path) -> str | None:
    """Why no file can be named so, with how to fix it; None where one can, be it there or not."""
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
    """`path_problem`, of a path that is written into settings and records: these are UTF-8."""
    text = str(path)
    if (problem := path_problem(text)) is None and not _is_utf8(text):
        return f"{_short(text)!r} is not UTF-8; rename it"
    return problem


def broken_link(path: Path) -> str | None:
    """Which link keeps a path from being there, and what it leads to; None where none does."""
    for part in (path, *path.parents):
        if part.is_symlink() and not part.exists():
            return f"{part} is a broken link to {part.readlink()}"
    return None


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those within, links to folders followed, each folder once; in order of names."""
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
    """The text with control characters, such as those that command a terminal, as their codes: `\\x1b`."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else f"\\x{ord(c):02x}" for c in text)


def decode_text(data: bytes, *, errors: str = "strict") -> str:
    """A text in UTF-8 or, as its byte order mark says, in UTF-16; without the mark.

    Raises:
        UnicodeDecodeError: it is neither, where `errors` is strict.
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
