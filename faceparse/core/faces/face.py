"""A face in a photograph, and the kind of function that finds faces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_FACES = 64
"""Most faces of one photograph: each costs memory and time of the network."""


@dataclass(frozen=True)
class Face:
    """A face in a photograph, in its pixels."""

    box: tuple[float, float, float, float]
    """Box of the face: x, y, width, height."""
    score: float = 1.0
    points: np.ndarray | None = None
    """Eyes, nose tip, mouth corners, in image order, as alignment takes them. 5 x 2 (x, y)."""
    matrix: np.ndarray | None = None
    """Similarity from picture to shares of the crop's square (see `FaceGeometry`), 2 x 3.

    None where the finder did not align the face itself."""

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return self.box[2] * self.box[3]

    def describe(self) -> dict[str, Any]:
        """Plain containers, as answers and files keep them."""
        found: dict[str, Any] = {"box": [round(float(value), 2) for value in self.box], "score": round(self.score, 4)}
        if self.points is not None:
            found["points"] = np.round(self.points.astype(float), 2).tolist()
        return found


Finder = Callable[[str, np.ndarray], list[Face]]
"""Function of a photograph's path and its pixels (H x W x 3 uint8 RGB) that returns its faces. Threads call it."""
