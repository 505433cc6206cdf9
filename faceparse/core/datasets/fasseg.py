"""FASSEG frontal02 (V2): `{Train,Test}_{RGB,Labels}/<n>.bmp`, labels painted in the label set's colours.

Khan, Mauro, Leonardi: Multi-class semantic segmentation of faces, ICIP 2015.
"""

import hashlib
from pathlib import Path
from typing import Any

from faceparse.core.datasets.source import Item, Raw, WithoutLandmarks, find_root, nearest_colour
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import must_be_one
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set


class Fasseg(WithoutLandmarks):
    """FASSEG as a source: 14 training photographs and the 50 of the test set.

    Every `val_every`-th training photograph becomes `val`. Six of the 20 training photographs are test photographs
    under another number. They are left out of training: scores on them would measure memory, not parsing. The labels
    have thousands of anti-aliased colours; each pixel takes the class of the nearest palette colour.
    """

    def __init__(self, raw: Path, *, val_every: int = 7) -> None:
        self.raw = raw
        self.val_every = val_every
        self.label_set = get_label_set("fasseg")

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        root = find_root(self.raw, "Train_RGB", "Train_Labels", "Test_RGB", "Test_Labels")
        test = _images(root / "Test_RGB")
        seen = {_digest(path) for path in test}
        train = [path for path in _images(root / "Train_RGB") if _digest(path) not in seen]
        return [
            *(_item(path, "train" if i % self.val_every else "val") for i, path in enumerate(train, 1)),
            *(_item(path, "test") for path in test),
        ]

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label."""
        image, label = item.files
        must_be_one(read_bytes(label), label)
        return Raw(read_image(image), nearest_colour(read_image(label), self.label_set.palette()))

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {"source": "fasseg", "raw": str(self.raw.resolve()), "val_every": self.val_every}


def _images(folder: Path) -> list[Path]:
    images = [path for path in folder.glob("*.bmp") if path.stem.isdigit()]
    if not images:
        raise DatasetError(f"{folder}: no <n>.bmp in it; give FASSEG's V2 folder as it was unpacked")
    return sorted(images, key=lambda path: int(path.stem))


def _item(image: Path, split: str) -> Item:
    part = image.parent.name.removesuffix("_RGB")
    label = image.parent.with_name(f"{part}_Labels") / image.name
    return Item(f"{part.lower()}_{int(image.stem):02d}", split, (image, label))


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()
