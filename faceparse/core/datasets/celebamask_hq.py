"""CelebAMask-HQ (Lee et al., MaskGAN, CVPR 2020).

CelebA-HQ-img/<i>.jpg   CelebAMask-HQ-mask-anno/<i // 2000>/<i:05d>_<part>.png   CelebA-HQ-to-CelebA-mapping.txt
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from faceparse.core.datasets.source import Item, Raw, WithoutLandmarks, find_root
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_mask
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.text.paths import decode_text

IMAGES, MASKS, MAPPING = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno", "CelebA-HQ-to-CelebA-mapping.txt"
LAST_TRAIN, LAST_VAL = 162770, 182637
"""Last number of the original file in CelebA's own train and val splits: 24183 / 2993 / 2824 of the 30000 images."""


class CelebAMaskHQ(WithoutLandmarks):
    """CelebAMask-HQ as a source.

    Parts are painted in the order of their ids, later over earlier; photographs shrink to the masks' size.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.label_set = get_label_set("celebamask-hq")

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        root = find_root(self.raw, IMAGES, MASKS, MAPPING)
        originals, masks = self._originals(root / MAPPING), self._masks(root / MASKS)
        items, unknown = [], []
        for path in (root / IMAGES).glob("*.jpg"):
            number = int(path.stem) if path.stem.isdigit() else -1
            if number not in originals:
                unknown.append(path)
                continue
            items.append(Item(f"{number:05d}", _split(originals[number]), (path, *sorted(masks.get(number, ())))))
        if unknown:
            raise DatasetError(
                f"{root / MAPPING}: {len(unknown)} images such as {unknown[0].name} are not in it; download it again"
            )
        return items

    def _originals(self, path: Path) -> dict[int, int]:
        """Image number -> number of the CelebA file it was made from."""
        header, *lines = decode_text(read_bytes(path), errors="replace").splitlines() or [""]
        if header.split() != ["idx", "orig_idx", "orig_file"]:
            raise DatasetError(
                f"{path}: first line is {header[:40]!r}, not the header 'idx orig_idx orig_file'; download it again"
            )
        found = {}
        for number, line in enumerate(lines, 2):
            if not line.strip():
                continue
            try:
                index, _, file = line.split()
                found[int(index)] = int(Path(file).stem)
            except ValueError:
                raise DatasetError(
                    f"{path}:{number}: {line.strip()[:40]!r} is not 'idx orig_idx orig_file'; download it again"
                ) from None
        return found

    def _masks(self, folder: Path) -> dict[int, list[Path]]:
        """Image number -> its part masks. A part without pixels has no file."""
        found = defaultdict(list)
        for path in folder.glob("*/*.png"):
            index, separator, part = path.stem.partition("_")
            if separator and index.isdigit() and part in self.label_set.classes:
                found[int(index)].append(path)
        return found

    def load(self, item: Item) -> Raw:
        """Read one photograph and paint its label from the part masks."""
        path, *masks = item.files
        if not masks:
            raise DatasetError(f"{path}: no part masks; unpack {MASKS} again")
        by_part = {mask.stem.partition("_")[2]: mask for mask in masks}
        label: np.ndarray | None = None
        for index, part in enumerate(self.label_set.names):
            if part not in by_part:
                continue
            mask = read_mask(by_part[part])
            label = np.zeros(mask.shape, np.uint8) if label is None else label
            if mask.shape != label.shape:
                (h, w), (height, width) = mask.shape, label.shape
                raise DatasetError(f"{by_part[part]}: {w} x {h}, other parts are {width} x {height}; unpack it again")
            label[mask] = index
        assert label is not None
        image = read_image(path)
        if image.shape[:2] == label.shape:
            return Raw(image, label, read_bytes(path))
        return Raw(cv2.resize(image, label.shape[::-1], interpolation=cv2.INTER_AREA), label)

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {"source": "celebamask-hq", "raw": str(self.raw.resolve())}


def _split(original: int) -> str:
    return "train" if original <= LAST_TRAIN else "val" if original <= LAST_VAL else "test"
