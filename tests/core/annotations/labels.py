"""Label maps with two faces, and files of annotation tools that are drawn again."""

from pathlib import Path

import numpy as np

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.labels.label_set import get_label_set

HELEN = get_label_set("helen")
FASSEG = get_label_set("fasseg")


def two_faces() -> tuple[np.ndarray, np.ndarray]:
    """Blocks of four classes with holes and specks, 32 x 40, and the number of each pixel's face."""
    random = np.random.default_rng(0)
    label = random.integers(0, 4, (8, 10)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    label[9, 9] = 10
    owner = np.where(np.arange(40) < 20, 1, 2).astype(np.uint16) * (label != 0)
    return label, owner.astype(np.uint16)


def redrawn(path: Path) -> np.ndarray:
    """The label of the one photograph in a file."""
    (photograph,) = read_annotations(path)
    return photograph.draw(HELEN, (1, 1)).label


def problem(path: Path) -> str:
    """The error of drawing a file's only photograph, in one line, without the file's name."""
    try:
        redrawn(path)
    except Exception as error:
        assert "\n" not in str(error)
        assert str(error).startswith(f"{path}: ")
        return str(error).removeprefix(f"{path}: ")
    raise AssertionError("drawn without a problem")
