"""Interface of raw datasets. A new source is a file with such a class, a name, and a command.

Its name is in `prepare_by_name.py`, its command in `commands/prepare.py`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.text.paths import LONGEST_NAME, broken_link

_NAME = re.compile(r"[^\s\\:\x00-\x1f\x7f\ud800-\udfff]+")
"""Pattern of the names that a list's line and any file system can hold."""
LONGEST_ID = LONGEST_NAME - len(".png")

OnBroken = Literal["fail", "skip"]


@dataclass(frozen=True)
class Item:
    """One photograph of a raw dataset, not read yet.

    Raises:
        DatasetError: the id (from a list, an archive or a file's name) cannot name a file inside a dataset.
    """

    id: str
    """Name of its files in the canonical layout."""
    split: str
    files: tuple[Path, ...] = ()
    """Every file that `load` and `points` read, the image first. If one changes, the photograph is prepared again."""
    reading: str = ""
    """Meaning of the label's values where they are not ids: `0 is background, 255 is hair`; else empty."""
    group: str = ""
    """Name of the photographs that belong together, such as those of one person; empty for one that stands alone."""
    problem: str = ""
    """One line on why the photograph cannot be prepared, where that is known before it is read; else empty."""
    drawn: bool = False
    """Whether the split was drawn. In a finished folder, the photograph and its group then keep the one they have."""

    def __post_init__(self) -> None:
        parts = self.id.split("/")
        if any(part in ("", ".", "..") for part in parts) or not _NAME.fullmatch(self.id):
            self._refuse("cannot be the name of a dataset's files (no .., blanks, colons or backslashes)")
        if any(len(part.encode()) > LONGEST_ID for part in parts):
            self._refuse(f"is longer than {LONGEST_ID} bytes")

    def _refuse(self, why: str) -> NoReturn:
        where = f"{self.files[0]}: " if self.files else ""
        raise DatasetError(f"{where}{self.id!r} {why}; rename it")


@dataclass(frozen=True)
class Raw:
    """One photograph and its label, as they are in the raw dataset."""

    image: np.ndarray
    """H x W x 3 uint8 RGB."""
    label: np.ndarray
    """H x W uint8 class ids, or C x H x W uint8 soft maps."""
    jpeg: bytes | None = None
    """Content of the image's file where it can be kept as it is: encoding again would lose a little."""
    orientation: int = 1
    """EXIF orientation by which the image was turned upright; 1 if it was upright already."""
    notice: str = ""
    """Note on the image's file, such as that it is an animation's first picture; empty if there is none."""
    overlapping: int = 0
    """Number of the label's pixels that several of its regions claimed."""
    merged: Mapping[str, int] = field(default_factory=dict)
    """Phrase for a class that a mapping merged, such as `nose in face` -> its number of pixels."""


class Source(Protocol):
    """A raw dataset. It can be pickled, since `load` and `points` run in other processes."""

    label_set: LabelSet
    on_broken: OnBroken | None
    """Whether photographs that cannot be prepared are an error or are left out. None: an error, without a choice."""

    @property
    def has_landmarks(self) -> bool:
        """Whether the dataset has landmarks for `points`."""

    def items(self) -> Sequence[Item]:
        """Every photograph with its split. No photograph is read."""

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label.

        Raises:
            DatasetError: one of them cannot be read.
        """

    def points(self, item: Item) -> np.ndarray | None:
        """Five points of the alignment, 5 x 2, or None where this photograph has none.

        Raises:
            DatasetError: its landmark file cannot be read.
        """

    def notes(self) -> Sequence[str]:
        """Notes on the raw dataset, such as files that were skipped. Called after `items`."""

    def problems(self) -> Sequence[str]:
        """One line for each thing that is wrong beside the photographs, such as a list's missing file.

        They are errors where broken photographs are. Called after `items`.
        """

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on. They are written into the dataset folder and compared on a second run."""


def jpegs(folder: Path) -> list[Path]:
    """The JPEG files in a folder, whatever the case of their suffix."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


class WithoutNotes:
    """Base class of sources that have no notes, and in which a broken photograph is an error."""

    on_broken: OnBroken | None = None

    def problems(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def notes(self) -> Sequence[str]:
        """Nothing."""
        return ()


class WithoutLandmarks(WithoutNotes):
    """Base class of sources without landmark files."""

    has_landmarks = False

    def points(self, item: Item) -> np.ndarray | None:
        """None: no photograph has landmarks."""
        return None


def must_be_a_folder(raw: Path) -> None:
    """Raise DatasetError unless `raw` is a folder or a link to one."""
    if not raw.is_dir():
        link = broken_link(raw)
        raise DatasetError(f"{link}; fix the link" if link else f"{raw}: no such folder")


def find_root(raw: Path, *inside: str) -> Path:
    """Folder that holds all of `inside`: `raw`, or one up to two levels below, since archives often wrap their content.

    Raises:
        DatasetError: no such folder.
    """
    must_be_a_folder(raw)
    for pattern in (".", "*", "*/*"):
        for folder in sorted(raw.glob(pattern)) if pattern != "." else [raw]:
            if all((folder / name).exists() for name in inside):
                return folder
    for name in inside:
        if link := broken_link(raw / name):
            raise DatasetError(f"{link}; fix the link")
    raise DatasetError(f"{raw}: no {' and '.join(inside)} in it; give the folder as it was unpacked")


def nearest_colour(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """H x W x 3 uint8 RGB -> H x W uint8 ids of the nearest palette (C x 3 uint8) colour; ties to the lower id."""
    pixels = picture.astype(np.int32)
    distances = np.stack([((pixels - colour) ** 2).sum(axis=2) for colour in palette.astype(np.int32)])
    return distances.argmin(axis=0).astype(np.uint8)
