"""CelebAMask-HQ look-alikes: drawn faces whose 11 classes are renamed, and the other parts as simple shapes."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.layout import write_label_set
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.labels.label_set import get_label_set

CELEBA = get_label_set("celebamask-hq")
# The drawn left is the viewer's, CelebAMask-HQ's the subject's.
RENAMED = {
    "background": "background", "skin": "skin", "nose": "nose", "hair": "hair",
    "left_brow": "r_brow", "right_brow": "l_brow", "left_eye": "r_eye", "right_eye": "l_eye",
    "upper_lip": "u_lip", "inner_mouth": "mouth", "lower_lip": "l_lip",
}  # fmt: skip


def ids(*names: str) -> tuple[int, ...]:
    return CELEBA.ids(names)


def celeba_pair(index: int, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Image (size x size x 3) and label (size x size) in the official order; face `index` of seed 7."""
    source = Synthetic(count=index + 1, size=size, seed=7, val=0, test=0)
    pair = source.load(source.items()[index])
    assert isinstance(pair.image, np.ndarray)
    table = np.array(CELEBA.ids([RENAMED[name] for name in source.label_set.names]), np.uint8)
    return pair.image, _add_parts(table[pair.label], index)


def _add_parts(label: np.ndarray, index: int) -> np.ndarray:
    names = ("background", "skin", "hair", "neck", "cloth", "hat", "eye_g", "l_ear", "r_ear", "ear_r", "neck_l")
    background, skin, hair, neck, cloth, hat, eye_g, l_ear, r_ear, ear_r, neck_l = ids(*names)
    size = len(label)
    rows, columns = np.nonzero(label == skin)
    top, bottom, left, right = rows.min(), rows.max(), columns.min(), columns.max()
    middle, width = (left + right) // 2, right - left
    y, x = np.mgrid[:size, :size]
    free = label == background
    label[free & (y > bottom)] = cloth
    label[(free | (label == cloth)) & (y > bottom - width // 6) & (y < bottom + width // 4)
          & (abs(x - middle) < width // 4)] = neck  # fmt: skip
    nose_y = int(np.nonzero(label == ids("nose")[0])[0].mean())
    for ear, where in ((r_ear, left), (l_ear, right)):
        mask = np.zeros_like(label)
        cv2.ellipse(mask, (int(where), nose_y), (max(2, width // 14), max(3, width // 8)), 0, 0, 360, 1, -1)
        label[mask > 0] = ear
        if index % 4 == 0:
            label[nose_y + width // 8 : nose_y + width // 8 + 2, where - 1 : where + 2] = ear_r
    if index % 5 == 0:
        label[: top + 2][label[: top + 2] == hair] = hat
    if index % 6 == 0:
        eyes = np.isin(label, ids("l_eye", "r_eye"))
        label[(cv2.dilate(eyes.astype(np.uint8), np.ones((5, 5))) > 0) & ~eyes & (label == skin)] = eye_g
    if index % 7 == 0:
        label[(label == neck) & (y == bottom + 2)] = neck_l
    return label


def write_celeba(
    root: Path, *, order: Sequence[str] = CELEBA.names, count: int = 12, size: int = 96, flipped: bool = False
) -> Path:
    """A dataset in the canonical layout that calls itself celebamask-hq, its labels in `order`.

    Split as 4 test, 2 val and the rest train; `flipped` mirrors images and labels without swapping left and right.
    """
    table = np.arange(256, dtype=np.uint8)
    for index, name in enumerate(CELEBA.names):
        table[index] = list(order).index(name)
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        image, label = celeba_pair(index, size)
        if flipped:
            image, label = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(label[:, ::-1])
        (root / "images" / f"{index}.jpg").write_bytes(encode_jpeg(image))
        (root / "labels" / f"{index}.png").write_bytes(encode_png(table[label]))
        split = "test" if index < 4 else "val" if index < 6 else "train"
        lines[split].append(f"images/{index}.jpg labels/{index}.png\n")
    for split, content in lines.items():
        (root / f"{split}_list.txt").write_text("".join(content))
    write_label_set(root, CELEBA)
    update_edges(root)
    return root
