"""Patterns of paths, with wildcards and with fields that have a meaning: `photos/{split}/*.jpg`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from faceparse.core.text.paths import files_below

_WILD = re.compile(r"(\*\*/|\*\*|\*|\{[^\W\d]\w*\})")
_MEANING = {"**/": r"((?:[^/]+/)*)", "**": r"([^/]+(?:/[^/]+)*?)", "*": r"([^/]+?)"}


@dataclass(frozen=True)
class Match:
    """A path or name that fits a pattern."""

    name: str
    """The wildcards and fields with what is between them, without other folders and the file's suffix.

    `photos/a_1.jpg` is `a_1` by `photos/*_*.jpg`, and `train/images/1.jpg` is `train/1` by `{split}/images/*.jpg`.
    """
    wildcards: tuple[str, ...]
    """Text that each `*` and `**` stands for."""
    fields: Mapping[str, str]
    """Text that each `{field}` stands for."""


class Pattern:
    """A pattern of paths: `*` is any name, `**/` any folders, also none, and `{field}` a name that has a meaning.

    Wildcards and fields are as short as they can be. The case of the suffix does not matter, since some cameras write
    `.JPG`. If the pattern ends with `*`, any suffix fits.

        Pattern("photos/{split}/*.jpg").match("photos/train/anna.JPG").fields
    """

    def __init__(self, text: str) -> None:
        self.text = str(PurePosixPath(text))  # './photos/*.jpg' gives the same names as 'photos/*.jpg'
        self._tokens = [token for token in _WILD.split(self.text) if token]
        self._regex = re.compile(self._expression())

    @property
    def wildcards(self) -> tuple[str, ...]:
        """The wildcards, in order."""
        return tuple(token for token in self._tokens if token in _MEANING)

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields."""
        return frozenset(token[1:-1] for token in self._tokens if _is_field(token))

    def _expression(self) -> str:
        parts, known = [], set[str]()
        for token in self._tokens:
            if _is_field(token):
                name = token[1:-1]
                parts.append(f"(?P={name})" if name in known else f"(?P<{name}>[^/]+?)")
                known.add(name)
            else:
                parts.append(_MEANING.get(token) or re.escape(token))
        before, dot, suffix = self._tokens[-1].rpartition(".")
        if self._tokens[-1] in _MEANING:
            parts.append(r"(?:\.[^./]*)?")
        elif dot and suffix.isalnum():
            parts[-1] = f"{re.escape(before)}(?i:{re.escape(dot + suffix)})"
        return "".join(parts)

    def match(self, text: str) -> Match | None:
        """Match a path, with `/` between folders, or a name; None where it does not fit."""
        if (found := self._regex.fullmatch(text)) is None:
            return None
        named = set(self._regex.groupindex.values())
        wild = tuple(value for number, value in enumerate(found.groups(), 1) if number not in named)
        return Match(self._name(wild, found.groupdict()), wild, found.groupdict())

    def _name(self, wildcards: Sequence[str], fields: Mapping[str, str]) -> str:
        places = [number for number, token in enumerate(self._tokens) if token in _MEANING or _is_field(token)]
        if not places:
            return self.text
        parts = self._parts(wildcards, fields)
        for number, token in enumerate(self._tokens):
            if number not in places and "/" in token:
                parts[number] = "/"
        return re.sub("/+", "/", "".join(parts[places[0] : places[-1] + 1])).lstrip("/")

    def _parts(self, wildcards: Sequence[str], fields: Mapping[str, str]) -> list[str]:
        """The tokens, with texts in the places of wildcards and fields."""
        values = iter(wildcards)
        return [
            next(values) if token in _MEANING else fields[token[1:-1]] if _is_field(token) else token
            for token in self._tokens
        ]

    def fill(self, wildcards: Sequence[str], fields: Mapping[str, str]) -> str:
        """The path in which the wildcards and the fields stand for these texts."""
        return "".join(self._parts(wildcards, fields))

    def files(self, folder: Path) -> Iterator[tuple[Path, Match]]:
        """Yield the files of a folder that fit, in the order of their paths. Hidden files and folders do not fit."""
        fixed = self._tokens[0] if self._tokens[0] not in _MEANING and not _is_field(self._tokens[0]) else ""
        base = folder / fixed.rpartition("/")[0]
        for path in sorted(files_below(base)):
            if any(part.startswith(".") for part in path.relative_to(base).parts):
                continue
            if match := self.match(path.relative_to(folder).as_posix()):
                yield path, match


def _is_field(token: str) -> bool:
    return _WILD.fullmatch(token) is not None and token not in _MEANING
