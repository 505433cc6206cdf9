"""Label pictures as a person's work: read strictly, and written with ids that no palette can change."""

from pathlib import Path

import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.images.palette import encode_palette_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, unknown_values


def must_fit(label: np.ndarray, where: str, size: Size, label_set: LabelSet) -> None:
    """Check that a label belongs to a photograph and to a label set.

    Args:
        label: H x W uint8.
        size: height and width of the photograph.

    Raises:
        DatasetError: it has another size, or ids that are no classes.
    """
    if label.shape != size:
        (h, w), (height, width) = label.shape, size
        raise DatasetError(f"{where}: is {w} x {h}, its photograph {width} x {height}; move it elsewhere")
    if bad := unknown_values(label, len(label_set)):
        raise DatasetError(
            f"{where}: value {bad[0]} is not one of the {len(label_set)} classes of {label_set.name} (0 to "
            f"{len(label_set) - 1}, {IGNORE} ignored); move it elsewhere, or name its classes with --label-set"
        )


def read_fitting_label(path: Path, size: Size, label_set: LabelSet) -> np.ndarray:
    """H x W uint8 ids of a label picture that belongs to a photograph of this size and to this label set.

    Raises:
        DatasetError: it cannot be read, or does not belong to them.
    """
    label = read_label(path)
    must_fit(label, str(path), size, label_set)
    return label


def encode_label(label: np.ndarray, label_set: LabelSet) -> bytes:
    """Indexed PNG of H x W uint8 ids. The palette has 256 colours, and so a pixel 8 bits: 255 stays 255."""
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(label_set)] = label_set.palette()
    palette[IGNORE] = 255
    return encode_palette_png(label, palette)
