"""Sources that hold their photographs themselves, and a look at what was prepared."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.source import Item, Raw, WithoutLandmarks
from faceparse.core.faces.alignment import make_alignment
from faceparse.core.labels.label_set import get_label_set

RANDOM = np.random.default_rng(0)
SIZE = (20, 30)
ALIGNMENT = make_alignment("landmarks", size=128, template="farl", on_missing="identity")


class Given(WithoutLandmarks):
    """A source that holds its photographs itself."""

    def __init__(self, pairs: Mapping[str, Raw | Exception], splits: dict[str, str] | None = None) -> None:
        self.label_set = get_label_set("helen")
        self.pairs = pairs
        self.splits = splits or dict.fromkeys(pairs, "train")

    def items(self) -> list[Item]:
        return [Item(name, self.splits[name]) for name in self.pairs]

    def load(self, item: Item) -> Raw:
        pair = self.pairs[item.id]
        if isinstance(pair, Exception):
            raise pair
        return pair

    def describe(self) -> dict[str, Any]:
        return {"source": "given", "names": sorted(self.pairs), "share": 0.1}


class Counted(Given):
    """Photographs whose source files are real, and which counts what it reads."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__({f"n{i:02}": pair() for i in range(count)})
        self.files = {name: folder / f"{name}.txt" for name in self.pairs}
        for name, file in self.files.items():
            file.write_text(name)
        self.read: list[str] = []

    def items(self) -> list[Item]:
        return [Item(name, "train", (file,)) for name, file in self.files.items()]

    def load(self, item: Item) -> Raw:
        self.read.append(item.id)
        return super().load(item)

    def describe(self) -> dict[str, Any]:
        return {"source": "counted"}


class Turned(Given):
    """A face whose five points are dots of one colour, turned, scaled and shifted by a similarity that is known."""

    has_landmarks = True

    def __init__(self, points: np.ndarray, *, soft: bool = False) -> None:
        size = (220, 260)
        y, x = np.mgrid[: size[0], : size[1]]
        image, label = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
        for i, (px, py) in enumerate(points):
            near = (x - px) ** 2 + (y - py) ** 2
            image[..., 0] = np.maximum(image[..., 0], 255 * np.exp(-near / 8))  # a blob with a sharp centre
            label[near < 30] = i + 1
        maps = np.stack([np.where(label == i, 255, 0) for i in range(11)]).astype(np.uint8)
        super().__init__({"a": Raw(image, maps if soft else label)}, {"a": "test"})
        self.given = points

    def points(self, item: Item) -> np.ndarray:
        return self.given


def pair(label: np.ndarray | None = None) -> Raw:
    image = RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Raw(image, RANDOM.integers(0, 11, SIZE, dtype=np.uint8) if label is None else label)


def turned_template(angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Five points, and the 2 x 3 matrix that took them from the template of 128 x 128 pixels."""
    a, b = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    matrix = np.array([[a, -b, 0], [b, a, 0.0]])
    matrix[:, 2] = (130 - matrix[0, :2] @ (64, 72), 110 - matrix[1, :2] @ (64, 72))
    return np.array(ALIGNMENT.template) @ matrix[:, :2].T + matrix[:, 2], matrix


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lists(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*_list.txt"))
