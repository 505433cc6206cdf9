"""Classes with their names, and all that is told from the names alone. Nothing here needs more than NumPy."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

IGNORE = 255
"""Label value of pixels that the loss and the scores ignore."""

GLASSES = ("eye_g", "glasses", "eyeglasses", "sunglasses")
"""Names of classes that lie over the eyes. Not a field of the sets, since old checkpoints hold sets without it."""


class Classes:
    """Classes in id order: base of `LabelSet`."""

    if TYPE_CHECKING:  # fields of the classes that build upon it
        name: str
        classes: dict[str, str]
        landmarks: dict[Literal["eyes", "nose", "mouth"], tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in id order."""
        return tuple(self.classes)

    def ids(self, names: Iterable[str]) -> tuple[int, ...]:
        """Ids of classes, which must exist."""
        return tuple(self.names.index(name) for name in names)

    def part_ids(self) -> tuple[tuple[int, ...], ...]:
        """Ids of the image's left eye, its right eye, the nose and the mouth.

        Empty where the classes do not tell them apart, such as with one class for both eyes.
        """
        if len(self.landmarks.get("eyes", ())) != 2:
            return ()
        left, right = self.landmarks["eyes"]
        return tuple(map(self.ids, ((left,), (right,), self.landmarks["nose"], self.landmarks["mouth"])))

    def glasses_ids(self) -> tuple[int, ...]:
        """Ids of classes that lie over the eyes, by their names; empty if there is none."""
        return self.ids(name for name in GLASSES if name in self.classes)

    def areas(self, labels: np.ndarray) -> dict[str, int]:
        """Number of pixels of each class by its name, for the classes that are there. `labels` are uint8 ids."""
        counts = np.bincount(labels.ravel(), minlength=len(self))
        return {name: int(count) for name, count in zip(self.names, counts, strict=True) if count}

    def palette(self) -> np.ndarray:
        """Colours of the classes, C x 3 uint8 RGB."""
        return np.array([list(bytes.fromhex(colour[1:])) for colour in self.classes.values()], np.uint8)


@dataclass(frozen=True)
class PlainClasses(Classes):
    """The classes of a file that was checked when it was written."""

    name: str
    classes: dict[str, str]
    landmarks: dict[Literal["eyes", "nose", "mouth"], tuple[str, ...]] = field(default_factory=dict)
