"""Saves the probabilities of all classes at each pixel of a photograph."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from faceparse.core.faces.crops import Crop, paste_order
from faceparse.core.faces.matte import softmax
from faceparse.core.files.writing import atomic_file
from faceparse.core.images.warp import Size, chain, unwarp_label

BAND = 2**21
"""Probabilities that are computed at a time, to bound the memory: those of some rows of the photograph."""


def save_probabilities(
    path: Path,
    answers: Sequence[np.ndarray],
    crops: Sequence[Crop],
    size: Size,
    classes: int,
    *,
    clear: np.ndarray | None = None,
) -> None:
    """Write a C x H x W float16 array that `np.load` reads, `mmap_mode="r"` without taking memory for all of it.

    A pixel has the probabilities of the crop that its label is from (see `paste`), from the logits between which it
    lies. Outside all crops, the background has 1.

    Args:
        answers: the network's answers to the crops, C x h x w, from `settle`.
        classes: their number C.
        clear: H x W bool, where the picture is transparent: these pixels are background.

    Raises:
        OutputError: the file cannot be written.
    """
    height, width = size
    rows = max(1, BAND // (classes * width))
    with atomic_file(path) as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (classes, height, width)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for top in range(0, height, rows):
            band = slice(top, min(top + rows, height))
            found = _probabilities(answers, crops, band, width, classes)
            if clear is not None:
                found[:, clear[band]] = 0
                found[0, clear[band]] = 1
            for i, plane in enumerate(found.astype("<f2")):
                file.seek(start + 2 * (i * height + top) * width)
                file.write(plane.tobytes())


def _probabilities(
    answers: Sequence[np.ndarray], crops: Sequence[Crop], rows: slice, width: int, classes: int
) -> np.ndarray:
    """C x h x W float32 of some rows of the picture."""
    size = (rows.stop - rows.start, width)
    origin = np.array([[1.0, 0, 0], [0, 1, rows.start]])
    found = np.zeros((classes, *size), np.float32)
    found[0] = 1
    aligned = {crop.face: crop for crop in crops if not crop.wide}
    for i in paste_order(crops):
        crop = crops[i]
        inside = _inside(crop, origin, size)
        if crop.wide:
            inside &= ~_inside(aligned[crop.face], origin, size)
        if not inside.any():
            continue
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix, border = chain(origin, crop.matrix), cv2.BORDER_REPLICATE
        planes = [
            cv2.warpAffine(plane, matrix, (width, size[0]), flags=flags, borderMode=border) for plane in answers[i]
        ]
        here = softmax(np.stack([plane[inside] for plane in planes]))
        before = found[:, inside]
        found[:, inside] = np.where((here.argmax(axis=0) != 0) | (before.argmax(axis=0) == 0), here, before)
    return found


def _inside(crop: Crop, origin: np.ndarray, size: Size) -> np.ndarray:
    shown = np.ones(crop.image.shape[:2], np.uint8)
    return unwarp_label(shown, chain(origin, crop.matrix), size) != 0
