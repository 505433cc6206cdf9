"""Procedural faces with Helen's 11 classes: a dataset for demos and tests that nobody has to download."""

from typing import Any

import numpy as np

from faceparse.core.datasets.source import Item, Raw, WithoutNotes
from faceparse.core.datasets.splits import split_by_share
from faceparse.core.drawing.drawn_face import DrawnFace, draw_face
from faceparse.core.labels.label_set import get_label_set


class Synthetic(WithoutNotes):
    """Source of `count` drawn faces of `size` x `size` pixels; face i depends only on (seed, i)."""

    has_landmarks = True

    def __init__(
        self, *, count: int = 200, size: int = 256, seed: int = 0, val: float = 0.1, test: float = 0.2
    ) -> None:
        self.count, self.size, self.seed, self.val, self.test = count, size, seed, val, test
        self.label_set = get_label_set("helen")

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        names = [f"face_{index:05d}" for index in range(self.count)]
        split = split_by_share(names, val=self.val, test=self.test, seed=self.seed)
        return [Item(name, split[name]) for name in names]

    def load(self, item: Item) -> Raw:
        """Draw one face and its label."""
        face = self._draw(item)
        return Raw(face.image, face.label)

    def points(self, item: Item) -> np.ndarray:
        """Five points of the drawn face, 5 x 2."""
        return self._draw(item).points

    def _draw(self, item: Item) -> DrawnFace:
        index = int(item.id.removeprefix("face_"))
        return draw_face(np.random.default_rng([self.seed, index]), self.size)

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {
            "source": "synthetic",
            "count": self.count,
            "size": self.size,
            "seed": self.seed,
            "val": self.val,
            "test": self.test,
        }
