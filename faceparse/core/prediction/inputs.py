"""What was typed -> photographs, videos and cameras, each with the name of its outputs."""

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from faceparse.core.errors import DatasetError
from faceparse.core.files import IMAGE_SUFFIXES, any_case, read_bytes, some
from faceparse.core.prediction.outputs import KINDS

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".3gp")

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """A photograph or a video."""

    where: str
    """The path as it was typed or found, or `stdin`."""
    name: str
    """Of its outputs, without suffix; with a folder before it where one was searched."""
    data: bytes | None = None
    """Of what is no file."""

    def bytes(self) -> bytes:
        return read_bytes(Path(self.where)) if self.data is None else self.data


@dataclass
class Inputs:
    """In the order they were typed, each once."""

    photographs: list[Source] = field(default_factory=list)
    videos: list[Source] = field(default_factory=list)
    cameras: list[int] = field(default_factory=list)
    """Their numbers."""
    passed_over: list[Path] = field(default_factory=list)
    """Files in folders that were searched which are neither photographs nor videos by their names."""


def gather(typed: Sequence[str], out: Path, *, recursive: bool, stdin: Callable[[], bytes]) -> Inputs:
    """Photographs and videos that are named, those in folders and those that patterns match, `webcam:N`, and `-` for a
    photograph's bytes from `stdin`. What an earlier run left in `out` is left aside where folders are searched.

    Raises:
        DatasetError: an input does not exist, a search finds nothing, or two inputs would have the same outputs.
    """
    inputs = Inputs()
    files: dict[Path, Path] = {}
    for text in dict.fromkeys(typed):
        if camera := re.fullmatch(r"webcam:(\d+)", text):
            inputs.cameras.append(int(camera[1]))
        elif text == STDIN:
            inputs.photographs.append(Source("stdin", "stdin", stdin()))
        else:
            found, others = _files(text, out, recursive=recursive)
            inputs.passed_over += [path for path in others if path not in inputs.passed_over]
            for path, base in found:
                files.setdefault(path, base)
    for path, name in _names(files, taken=[source.name for source in inputs.photographs]).items():
        kind = inputs.videos if path.suffix.lower() in VIDEO_SUFFIXES else inputs.photographs
        kind.append(Source(str(path), name))
    return inputs


def read_list(data: bytes) -> list[str]:
    """The inputs in a list, one a line."""
    return [line for line in os.fsdecode(data).splitlines() if line.strip()]


def _files(text: str, out: Path, *, recursive: bool) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Each file with the folder that its name is relative to, and what was passed over."""
    path = Path(text)
    if path.is_file():
        return [(path, path.parent)], []
    if path.is_dir():
        base, found = path, path.glob("**/*" if recursive else "*")
    elif glob.has_magic(text):
        base = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        found = base.glob(any_case(str(path.relative_to(base))))
    else:
        raise DatasetError(f"{text}: no such photograph, video or folder")
    files = sorted(_visible(found, base, {out.resolve() / kind for kind in KINDS}))
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES]
    others = [path for path in files if path not in set(pictures)]
    if not pictures:
        deeper = "" if recursive or not path.is_dir() else "; --recursive searches the folders in it, too"
        there = f", but {some(others)}" if others else ""
        raise DatasetError(f"{text}: no photographs or videos in it ({', '.join(IMAGE_SUFFIXES)}, ...){there}{deeper}")
    return [(picture, base) for picture in pictures], others


def _visible(found: Iterator[Path], base: Path, ours: set[Path]) -> Iterator[Path]:
    for path in found:
        hidden = any(part.startswith(".") for part in path.relative_to(base).parts)  # `._a.jpg` of a Mac is none
        if not hidden and path.is_file() and ours.isdisjoint(path.resolve().parents):
            yield path


def _names(files: dict[Path, Path], taken: Sequence[str]) -> dict[Path, str]:
    """File -> name of its outputs: its path below the folder that was searched, without the suffix; with it where
    `a.jpg` lies beside `a.png`.
    """
    relative = {path: PurePath(path.relative_to(base)) for path, base in files.items()}
    stems = Counter([*(str(path.with_suffix("")) for path in relative.values()), *taken])
    names = {}
    for path, short in relative.items():
        alone = stems[str(short.with_suffix(""))] == 1
        names[path] = str(short.with_suffix("") if alone else short.with_name(short.name.replace(".", "_")))
    clash = [name for name, count in Counter([*names.values(), *taken]).items() if count > 1]
    if clash:
        raise DatasetError(
            f"two inputs would both be written as {clash[0]!r}; run predict once per folder, each with its own --output"
        )
    return names
