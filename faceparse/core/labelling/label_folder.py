"""The photographs of a folder that are labelled, and the files that belong to each."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faceparse.core.errors import DatasetError
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.paths import broken_link, files_below, is_hidden, path_problem
from faceparse.core.text.patterns import some_names

LABELS, GUESSES = "labels", "guesses"
"""Folders in that folder: what was saved, and what the model answered."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that is labelled."""

    folder: Path
    """Folder that is labelled."""
    path: Path
    """File of the photograph, in that folder or in one of its folders."""

    @property
    def name(self) -> str:
        """Its path within the folder, such as `a.jpg` or `day1/a.jpg`."""
        return self.path.relative_to(self.folder).as_posix()

    @property
    def key(self) -> str:
        """Word by which a page asks for it. It is no path, and stays the same when the command is started again."""
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:32]

    @property
    def label(self) -> Path:
        """File of its label."""
        return self._picture_in(LABELS)

    @property
    def guess(self) -> Path:
        """File of the model's guess."""
        return self._picture_in(GUESSES)

    def _picture_in(self, place: str) -> Path:
        return self.folder / place / Path(self.name).parent / f"{self.path.stem}.png"


class Found(NamedTuple):
    """The photographs of a folder."""

    photographs: list[Photograph]
    """By name."""
    notes: list[str]
    """One line for each thing that is left out."""


def find_photographs(folder: Path, *, recursive: bool = False) -> Found:
    """Find the photographs in a folder.

    Args:
        folder: that is searched. Hidden files, and folders of labels and guesses, are passed over.
        recursive: whether to search the folders in it, too.

    Raises:
        DatasetError: there is no such folder, or no photograph in it.
    """
    if problem := path_problem(folder):
        raise DatasetError(f"--label: {problem}")
    if not folder.is_dir():
        raise DatasetError(f"{broken_link(folder) or folder}: no such folder; name the folder of your photographs")
    try:
        entries = sorted(folder.iterdir())
        files = sorted(files_below(folder)) if recursive else [path for path in entries if not path.is_dir()]
    except OSError as error:
        raise DatasetError(f"cannot read {folder}: {error.strerror or error}") from None
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not _is_passed_over(path, folder)]
    twins = defaultdict[str, list[Photograph]](list)
    for path in pictures:
        photograph = Photograph(folder, path)
        # some file systems take `A.png` and `a.png` for one file
        twins[str(photograph.label).casefold()].append(photograph)
    notes = [
        f"{' and '.join(one.name for one in same)}: would have one label, "
        f"{same[0].label.relative_to(folder).as_posix()}; rename all but one"
        for same in twins.values()
        if len(same) > 1
    ]
    folders = [path.name for path in entries if path.is_dir() and not _is_passed_over(path, folder)]
    if folders and not recursive:
        notes.append(f"folders in it are not searched: {some_names(folders)}; --recursive searches them, too")
    photographs = [same[0] for same in twins.values() if len(same) == 1]
    if not photographs:
        why = f"; {notes[0]}" if notes else f" ({', '.join(IMAGE_SUFFIXES)})"
        raise DatasetError(f"{folder}: no photographs to label{why}")
    return Found(photographs, notes)


def _is_passed_over(path: Path, folder: Path) -> bool:
    """Whether a file in a folder is hidden, or a label or guess of it or of one of its folders."""
    name = path.relative_to(folder)
    return is_hidden(name.as_posix()) or not {LABELS, GUESSES}.isdisjoint(name.parts)
