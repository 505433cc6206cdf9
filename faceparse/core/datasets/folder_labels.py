"""Interface of what labels a folder's photographs: pictures, one mask a class, annotations.

A new kind is a file with such a class, and a line in `folder.py` that chooses it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from faceparse.core.datasets.source import Item


@dataclass(frozen=True)
class Photograph:
    """A photograph of the folder, not read yet."""

    id: str
    """Name of its files in the canonical layout."""
    path: Path
    wildcards: tuple[str, ...]
    """The text that each `*` and `**` of the images' pattern stands for."""
    fields: Mapping[str, str]
    """The text that each `{field}` of that pattern stands for."""


@dataclass(frozen=True)
class FoundLabels:
    """The labels that were found for photographs. An id is in `files` or in `problems`."""

    files: Mapping[str, tuple[Path, ...]]
    """Photograph's id -> the files that its label is read from. If one changes, the photograph is prepared again."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Photograph's id -> one line on why it has no label: the file, what is wrong, how to fix it."""
    reading: str = ""
    """Meaning of the labels' values where they are not ids: `0 is background, 255 is hair`; else empty."""
    notes: tuple[str, ...] = ()
    """Notes for the user, one line each, such as labels without a photograph."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The label of one photograph."""

    ids: np.ndarray
    """H x W uint8: class ids of the folder's label set, 255 where pixels are ignored."""
    overlapping: int = 0
    """Number of pixels that several regions of the label claim. The class of the largest id got them."""
    notice: str = ""
    """Note on the label, such as that an outline crosses itself; empty if there is none."""


class FolderLabels(Protocol):
    """Labels of a folder's photographs. It can be pickled, since `read` runs in other processes."""

    def find(self, photographs: Sequence[Photograph]) -> FoundLabels:
        """Find the label of every photograph.

        Raises:
            DatasetError: the labels as a whole cannot be used.
        """

    def read(self, item: Item, size: tuple[int, int]) -> LabelMap:
        """Read the label of one photograph that has one.

        Args:
            item: the photograph. `files` are its own, then those that `find` gave; `reading` is `find`'s.
            size: height and width of the upright photograph. A label of another size is refused by the caller.

        Raises:
            DatasetError: a file cannot be read, or a value or class is not in the label set.
        """

    def describe(self) -> dict[str, Any]:
        """Facts that the labels depend on. They are written into the dataset folder."""
