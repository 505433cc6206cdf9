"""iBugMask (Lin et al., RoI Tanh-polar Transformer Network for Face Parsing in the Wild, IVC 2021).

{train,test}/{<id>.jpg, <id>.png, <id>_landmark.txt}. The number of points in a landmark file was not checked
against a download: 5, 68 and 106 are understood.
"""

from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.source import Item, Raw, WithoutNotes, find_root, jpegs
from faceparse.core.datasets.splits import split_by_share
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import read_five_points
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import LabelSet


class IBugMask(WithoutNotes):
    """iBugMask as a source. The published split has no val, so a share of train becomes val."""

    has_landmarks = True

    def __init__(self, raw: Path, *, label_set: LabelSet, val: float = 0.05, seed: int = 0) -> None:
        self.raw = raw
        self.label_set = label_set
        self.val, self.seed = val, seed

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        root = find_root(self.raw, "train", "test")
        train, test = ({path.stem: path for path in jpegs(root / part)} for part in ("train", "test"))
        if not train or not test:
            raise DatasetError(f"{root / ('test' if train else 'train')}: no .jpg in it")
        splits = split_by_share(train, val=self.val, test=0, seed=self.seed)
        return [
            *(self._item(f"train_{name}", splits[name], path) for name, path in train.items()),
            *(self._item(f"test_{name}", "test", path) for name, path in test.items()),
        ]

    def _item(self, name: str, split: str, image: Path) -> Item:
        files = (image, image.with_suffix(".png"), image.with_name(f"{image.stem}_landmark.txt"))
        return Item(name, split, files)

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label."""
        image, label, _ = item.files
        return Raw(read_image(image), read_label(label), read_bytes(image))

    def points(self, item: Item) -> np.ndarray | None:
        """Five points of the alignment, 5 x 2, or None where the photograph has none."""
        path = item.files[2]
        return read_five_points(path) if path.is_file() else None

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {
            "source": "ibugmask",
            "raw": str(self.raw.resolve()),
            "label_set": self.label_set.name,
            "val": self.val,
            "seed": self.seed,
        }
