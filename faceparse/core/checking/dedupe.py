"""Finds near-duplicates among photographs. Deletes nothing."""

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceparse.core.checking.near_copies import NearCopies, equal_thumbnails, thumbnail
from faceparse.core.errors import DatasetError, FaceparseError
from faceparse.core.images.photograph import Photograph
from faceparse.core.images.photograph_sources import Searcher
from faceparse.core.images.read_photograph import decode_image
from faceparse.core.machine.parallel import Track, map_files, map_threads, untracked


class Fingerprint(NamedTuple):
    """Compared facts of a photograph."""

    where: str
    """Its path, or that of its tar or table and its own in it."""
    digest: bytes
    """SHA-256 of the file's content."""
    thumbnail: np.ndarray
    """Grey, 32 x 32 uint8."""
    size: tuple[int, int]
    """Height and width in pixels, upright."""
    length: int
    """Bytes of the file."""


class Member(NamedTuple):
    """A photograph in a group of near-duplicates."""

    photograph: Fingerprint
    distance: float
    """1 - correlation of its detail with that of the kept one: 0 for a copy of the bytes, at most 0.03."""


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates among photographs."""

    photographs: int
    """Number of photographs that were compared."""
    groups: list[list[Member]]
    """Each begins with the photograph to keep. Every other one is a near-duplicate of that one."""
    broken: list[str]
    """One line for each photograph that could not be read."""

    @property
    def copies(self) -> int:
        """Number of photographs that are near-duplicates of one that is kept."""
        return sum(len(group) - 1 for group in self.groups)


def find_photographs(place: str, column: str | None = None) -> list[Photograph]:
    """Find the photographs to compare, those of folders in folders, too. One that links lead to is taken once.

    Args:
        place: see `Searcher`.
        column: column of Parquet files.

    Raises:
        DatasetError: there is no such place, it refuses or is damaged, or it holds no photographs.
        ResourceError: a package that it needs is not installed.
    """
    (search,) = Searcher(recursive=True, column=column).search([place])
    if [one.photograph.where for one in search.found] == [str(Path(place))]:
        raise DatasetError(f"{place}: one file alone; name a folder, a pattern, a tar or a Parquet file of photographs")
    found: dict[str, Photograph] = {}
    for photograph, _ in search.found:
        real = photograph.where if photograph.content else os.path.realpath(photograph.where)
        if real not in found or not Path(photograph.where).is_symlink():
            found[real] = photograph
    return sorted(found.values(), key=lambda one: one.where)


def find_duplicates(photographs: Sequence[Photograph], *, processes: int = 1, track: Track = untracked) -> Duplicates:
    """Read photographs and group the near-duplicates."""
    found, broken = list[Fingerprint](), list[str]()
    if any(photograph.content for photograph in photographs):  # each process would begin tables and connections anew
        looks = map_threads(_look, photographs, processes, ahead=4 * processes)
    else:
        looks = map_files(_look, photographs, processes)
    for look in track(looks, len(photographs), "dedupe"):
        if isinstance(look, str):
            broken.append(look)
        else:
            found.append(look)
    return Duplicates(len(found), list(group_copies(found)), broken)


def group_copies(photographs: Sequence[Fingerprint]) -> Iterator[list[Member]]:
    """Groups of near-duplicates: the one to keep first, then those that are copies of this one, not of each other.

    Photographs are taken from the best to the worst: the most pixels, then the most bytes, then the first. Each is a
    copy of the first kept one that it agrees with, or is kept itself. So no chain of small changes joins two
    photographs that differ.
    """
    best = sorted(photographs, key=lambda one: (-one.size[0] * one.size[1], -one.length))
    contents: dict[bytes, list[int]] = {}
    for position, one in enumerate(best):
        contents.setdefault(one.digest, []).append(position)
    firsts = [same[0] for same in contents.values()]
    if not firsts:
        return
    alike = equal_thumbnails(np.stack([best[first].thumbnail for first in firsts]))
    classes = [[position for i in equal for position in contents[best[firsts[i]].digest]] for equal in alike]
    near = NearCopies(np.stack([best[positions[0]].thumbnail for positions in classes]))
    accompanied = set(near.accompanied().tolist())
    free = np.ones(len(classes), bool)
    for number, positions in enumerate(classes):
        if not free[number]:
            continue
        free[number] = False
        group = [Member(best[position], 0.0) for position in positions]
        if number in accompanied:
            copies, distances = near.of(number, free)
            free[copies] = False
            for copy, distance in zip(copies.tolist(), distances.tolist(), strict=True):
                group += [Member(best[position], distance) for position in classes[copy]]
        if len(group) > 1:
            yield group


def duplicates_csv(found: Duplicates) -> bytes:
    """Content of the list: a line for each photograph of each group. Names that are no UTF-8 keep their bytes."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["group", "photograph", "distance", "kept", "width", "height", "bytes"])
    for number, group in enumerate(found.groups, 1):
        for i, (one, distance) in enumerate(group):
            height, width = one.size
            kept = "no" if i else "yes"
            table.writerow([number, one.where, f"{distance:.4f}", kept, width, height, one.length])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _look(photograph: Photograph) -> Fingerprint | str:
    """Fingerprint, or a line that says why there is none."""
    try:
        data = photograph.bytes()
        image = decode_image(data, photograph.where)
    except FaceparseError as error:  # one broken photograph must not stop the others
        return str(error)
    size = image.shape[0], image.shape[1]
    return Fingerprint(photograph.where, hashlib.sha256(data).digest(), thumbnail(image), size, len(data))
