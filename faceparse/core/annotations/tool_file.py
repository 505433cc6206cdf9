"""A file of an annotation tool that is written photograph by photograph: many thousands do not fit into memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np

from faceparse.core.files.writing import atomic_file
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import Classes


class ToolFile(ABC):
    """One file for all photographs.

    It is opened in a folder, and put in place when the block is done:

        with CocoFile.open(folder, label_set) as file:
            file.add("photo.jpg", label.shape, file.describe(label, owner))
    """

    name: ClassVar[str]
    """Name of the file."""

    def __init__(self, file: BinaryIO, label_set: Classes) -> None:
        self._file = file
        self.label_set = label_set

    @classmethod
    @contextmanager
    def open(cls, folder: Path, label_set: Classes) -> Iterator[Self]:
        """Open the file in a folder; it is put in place when the block is done.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_file(folder / cls.name) as file:
            one = cls(file, label_set)
            file.write(one.begin().encode())
            yield one
            file.write(one.end().encode())

    def add(self, path: str, size: Size, described: Any) -> None:
        """Write a photograph: its path, its height and width, and what `describe` gave."""
        self._file.write(self.entry(path, size, described).encode())

    def masks(self, label: np.ndarray, owner: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the number of a face (from 1), a class, and its pixels (H x W bool), for each class but background."""
        both = owner.astype(np.int32) << 8 | label
        for key in np.unique(both[label != 0]).tolist():
            yield key >> 8, key & 255, both == key

    @abstractmethod
    def begin(self) -> str:
        """Text before the photographs."""

    @abstractmethod
    def describe(self, label: np.ndarray, owner: np.ndarray) -> Any:
        """Describe a label map (H x W ids, H x W numbers of faces) for the file. Any thread may call this."""

    @abstractmethod
    def entry(self, path: str, size: Size, described: Any) -> str:
        """Text of a photograph."""

    @abstractmethod
    def end(self) -> str:
        """Text after the photographs."""
