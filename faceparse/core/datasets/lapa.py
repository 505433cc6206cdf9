"""LaPa (Liu et al., A New Dataset and Boundary-Attention Semantic Segmentation for Face Parsing, AAAI 2020).

{train,val,test}/{images/<id>.jpg, labels/<id>.png, landmarks/<id>.txt}; landmarks are a line `106` and 106 lines `x y`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.source import Item, Raw, WithoutNotes, find_root, jpegs
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import read_five_points
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set

POINTS = 106


class Lapa(WithoutNotes):
    """LaPa as a source. The published splits are folders: 18176 train, 2000 val, 2000 test."""

    has_landmarks = True

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.label_set = get_label_set("lapa")

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        root = find_root(self.raw, *(f"{split}/images" for split in SPLITS))
        items = [self._item(root / split, path) for split in SPLITS for path in jpegs(root / split / "images")]
        if not items:
            raise DatasetError(f"{root / 'train' / 'images'}: no .jpg in it")
        return items

    def _item(self, folder: Path, image: Path) -> Item:
        name = image.stem
        files = (image, folder / "labels" / f"{name}.png", folder / "landmarks" / f"{name}.txt")
        return Item(name, folder.name, files)

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label."""
        image, label, _ = item.files
        return Raw(read_image(image), read_label(label), read_bytes(image))

    def points(self, item: Item) -> np.ndarray | None:
        """Five points of the alignment, 5 x 2, or None where the photograph has none."""
        path = item.files[2]
        return read_five_points(path, count=POINTS, header=True) if path.is_file() else None

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {"source": "lapa", "raw": str(self.raw.resolve())}
