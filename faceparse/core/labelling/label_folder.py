"""The photographs of a folder that are labelled, and the files that belong to each."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faceparse.core.errors import DatasetError
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.text.paths import broken_link, path_problem
from faceparse.core.text.patterns import some_names

LABELS, GUESSES = "labels", "guesses"
"""Folders beside the photographs: what was saved, and what the model answered."""


@dataclass(frozen=True)
class Photograph:
    """A photograph that is labelled."""

    path: Path

    @property
    def name(self) -> str:
        """Name of its file."""
        return self.path.name

    @property
    def key(self) -> str:
        """Word by which a page asks for it. It is no path, and stays the same when the command is started again."""
        return hashlib.sha256(os.fsencode(self.name)).hexdigest()[:32]

    @property
    def label(self) -> Path:
        """File of its label."""
        return self.path.parent / LABELS / f"{self.path.stem}.png"

    @property
    def guess(self) -> Path:
        """File of the model's guess."""
        return self.path.parent / GUESSES / f"{self.path.stem}.png"


class Found(NamedTuple):
    """The photographs of a folder."""

    photographs: list[Photograph]
    """By name."""
    notes: list[str]
    """One line for each thing that is left out."""


def find_photographs(folder: Path) -> Found:
    """Find the photographs in a folder, without those in its folders.

    Raises:
        DatasetError: there is no such folder, or no photograph in it.
    """
    if problem := path_problem(folder):
        raise DatasetError(f"--label: {problem}")
    if not folder.is_dir():
        raise DatasetError(f"{broken_link(folder) or folder}: no such folder; name the folder of your photographs")
    try:
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"cannot read {folder}: {error.strerror or error}") from None
    pictures = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()]
    twins = defaultdict[str, list[Path]](list)
    for path in pictures:
        twins[path.stem.casefold()].append(path)  # some file systems take `A.png` and `a.png` for one file
    notes = [
        f"{' and '.join(path.name for path in same)}: would have one label, {LABELS}/{same[0].stem}.png; rename all "
        "but one"
        for same in twins.values()
        if len(same) > 1
    ]
    folders = [path.name for path in entries if path.is_dir() and path.name not in (LABELS, GUESSES)]
    if folders:
        notes.append(f"folders in it are not searched: {some_names(folders)}; name one with --label")
    photographs = [Photograph(same[0]) for same in twins.values() if len(same) == 1]
    if not photographs:
        why = f"; {notes[0]}" if notes else f" ({', '.join(IMAGE_SUFFIXES)})"
        raise DatasetError(f"{folder}: no photographs to label{why}")
    return Found(photographs, notes)
