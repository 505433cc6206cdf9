"""Finds photographs: files, folders, patterns, tars, Parquet files, here or elsewhere. Only lists of them are read."""

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faceparse.core.errors import DatasetError
from faceparse.core.files.local_file import list_file
from faceparse.core.files.remote import RemoteFile, ask_many, find_remote, is_remote, without_file_protocol
from faceparse.core.images.photograph import Found, Missing, Photograph
from faceparse.core.images.photograph_table import PARQUET, table_photographs
from faceparse.core.images.photograph_tar import COMPRESSED, TAR, tar_photographs
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.paths import LONGEST_NAME, broken_link, files_below, is_hidden, path_problem
from faceparse.core.text.patterns import any_case, some, some_names

LONGEST_BELOW = 2048
"""Bytes of the longest path below a searched place elsewhere, so that outputs have room for their own folder."""


class Search(NamedTuple):
    """Result of a search."""

    found: list[Found]
    passed_over: list[Path]
    """Files that, by their names, are not wanted; and labels beside photographs in tars."""
    tables: int = 0
    """Number of Parquet files among the places."""


@dataclass(frozen=True)
class Searcher:
    """Finds the photographs at places that a user typed.

        Searcher(recursive=True).search(["album", "s3://bucket/shards/*.tar"])

    A place is a file, a folder, a pattern, or one of these elsewhere. Tars and Parquet files stand for the photographs
    in them, if they were typed, or if the folder or pattern has nothing else that is wanted.
    """

    videos: tuple[str, ...] = ()
    """Suffixes of videos, if they are wanted, too."""
    recursive: bool = False
    """Whether folders within folders are searched, too."""
    column: str | None = None
    """Column of Parquet files; None: `image`, or the only one that fits."""
    outputs: frozenset[Path] = frozenset()
    """Real paths of folders that outputs go to; they are left aside."""

    def search(self, places: Sequence[str]) -> list[Search]:
        """Find the photographs of each place. Places elsewhere are asked some at a time.

        Raises:
            DatasetError: a place does not exist, refuses, is damaged, or holds nothing that is wanted.
            ResourceError: a package that it needs is not installed.
        """
        answers = ask_many(self._elsewhere, [place for place in places if is_remote(place)])
        return [next(answers) if is_remote(place) else self._here(without_file_protocol(place)) for place in places]

    def _here(self, place: str) -> Search:
        must_be_there(place, self._wanted)
        path = Path(place)
        if path.is_file():
            return self._taken([Found(Photograph(str(path)), path.name)])
        if path.is_dir():
            base, found = path, files_below(path) if self.recursive else path.glob("*")
        else:
            base = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
            found = base.glob(any_case(str(path.relative_to(base))))
        files = [Found(Photograph(str(file)), file.relative_to(base).as_posix()) for file in self._visible(found, base)]
        return self._chosen(place, files, folder=path.is_dir())

    def _elsewhere(self, place: str) -> Search:
        kind, listed = find_remote(place, recursive=self.recursive)
        files = [Found(Photograph(file.where, content=file), below) for file, below in listed]
        if kind != "file":
            return self._chosen(place, [one for one in files if not is_hidden(one.below)], folder=kind == "folder")
        if files[0].below.lower().endswith(self.videos or ()):
            raise DatasetError(f"{files[0].photograph.where}: videos are read from this machine alone; copy it here")
        return self._taken(files)

    def _visible(self, found: Iterable[Path], base: Path) -> Iterator[Path]:
        for path in sorted(found):
            is_lost = path.is_symlink() and not path.exists()  # it is told when it is read
            if not is_hidden(path.relative_to(base).as_posix()) and (path.is_file() or is_lost):
                real = Path(os.path.realpath(path))
                if self.outputs.isdisjoint(real.parents):
                    yield path

    def _chosen(self, place: str, files: list[Found], *, folder: bool) -> Search:
        """Take what is wanted of the files in a folder."""
        wanted = [one for one in files if one.below.lower().endswith(IMAGE_SUFFIXES + self._videos(one))]
        taken = wanted or [one for one in files if one.below.lower().endswith((PARQUET, TAR))]
        left = set(map(id, taken))
        others = [Path(one.photograph.where) for one in files if id(one) not in left]
        if not taken:
            deeper = "" if self.recursive or not folder else "; --recursive searches the folders in it, too"
            what = "photographs or videos" if self.videos else "photographs"
            there = f", but {some(others)}" if others else ""
            raise DatasetError(f"{place}: no {what} in it ({', '.join(IMAGE_SUFFIXES)}, ...){there}{deeper}")
        search = self._taken(taken)
        return search._replace(passed_over=[*others, *search.passed_over])

    def _videos(self, one: Found) -> tuple[str, ...]:
        """Suffixes of videos that can be taken: those elsewhere cannot."""
        return self.videos if one.photograph.content is None else ()

    @property
    def _wanted(self) -> str:
        return "photograph, video" if self.videos else "photograph"

    def _taken(self, files: Sequence[Found]) -> Search:
        """Put the photographs in tars and tables in the place of these; files are of both kinds, or of neither."""
        if not files[0].below.lower().endswith((PARQUET, TAR, *COMPRESSED)):
            return Search(list(map(_nameable, files) if is_remote(files[0].photograph.where) else files), [])
        opened = ask_many(self._inside, files) if is_remote(files[0].photograph.where) else map(self._inside, files)
        found, labels, tables = list[Found](), list[Path](), 0
        for one in opened:
            found += map(_nameable, one.found)
            labels += one.passed_over
            tables += one.tables
        if not found:
            names, suffixes = some_names([one.photograph.where for one in files]), ", ".join(IMAGE_SUFFIXES[:5])
            raise DatasetError(f"{names}: no photographs in it ({suffixes}, ...); name another file")
        return Search(found, labels, tables)

    def _inside(self, file: Found) -> Search:
        content = file.photograph.content
        listed = content if isinstance(content, RemoteFile) else list_file(Path(file.photograph.where))
        if file.below.lower().endswith(PARQUET):
            return Search(table_photographs(listed, file.below, self.column), [], 1)
        return Search(*tar_photographs(listed, file.below))


def must_be_there(place: str, wanted: str, where: str = "") -> None:
    """Raise an error if no file, folder or pattern of this machine can be meant. Elsewhere is not looked at.

    Args:
        wanted: what is looked for, for the message.
        where: what the message begins with.

    Raises:
        DatasetError: no file can have this name; or it is no existing file and no pattern.
    """
    if is_remote(place):
        return
    place = without_file_protocol(place)
    if problem := path_problem(place):
        raise DatasetError(f"{where}{problem}")
    path = Path(place)
    if not (path.exists() or glob.has_magic(place)):
        if link := broken_link(path):
            raise DatasetError(f"{where}{link}; fix the link")
        slashes = "; write / between folders and names" if "\\" in place else ""
        fix = "; fix the list" if where and not slashes else ""
        raise DatasetError(f"{where}{place}: no such {wanted} or folder{slashes}{fix}")


def _nameable(found: Found) -> Found:
    """The photograph; or one that cannot be read, if a stranger gave it a path that outputs cannot have."""
    if not (problem := _problem(found.below)):
        return found
    where, stamp, file = found.photograph.where, found.photograph.stamp, found.photograph.file
    missing = Missing(f"{where}: {problem}; rename it", stamp, file)
    name = hashlib.sha256(where.encode(errors="surrogateescape")).hexdigest()[:16]
    return Found(Photograph(where, content=missing), f"unnamed/{name}")


def _problem(below: str) -> str:
    """Reason why outputs cannot have this path; empty if they can."""
    data = below.encode(errors="surrogateescape")
    *folders, _ = parts = data.split(b"/")
    if b".." in parts or data.startswith(b"/"):
        return "its path leads out of its place"
    if b"\0" in data or len(data) > LONGEST_BELOW or any(len(folder) > LONGEST_NAME for folder in folders):
        return "outputs cannot have its path"
    return ""
