"""Writes polygons as one COCO instances file."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from faceparse.core.faces.crops import PictureLabels
from faceparse.core.files.writing import atomic_file
from faceparse.core.images.polygons import joined_polygons
from faceparse.core.labels.label_set import LabelSet


def annotations(parsed: PictureLabels) -> list[dict[str, Any]]:
    """One COCO annotation for each class of each face: its polygons, with a ring for each connected part.

    Points are pixel corners, so a polygon's area is its number of pixels. COCO's polygons have no holes: a hole is
    joined to the outline by a cut (see `joined_polygons`), and tools that fill the polygon leave the hole open.
    """
    found = []
    both = parsed.owner.astype(np.int32) << 8 | parsed.label
    for key in np.unique(both[parsed.label != 0]).tolist():
        mask = both == key
        (x, right), (y, bottom) = (_ends(mask.any(axis=axis)) for axis in (0, 1))
        found.append(
            {
                "category_id": key & 255,
                "face": (key >> 8) - 1,
                "segmentation": [ring.ravel().tolist() for ring in joined_polygons(mask)],
                "area": int(np.count_nonzero(mask)),
                "bbox": [x, y, right - x, bottom - y],
                "iscrowd": 0,
            }
        )
    return found


def _ends(line: np.ndarray) -> tuple[int, int]:
    """Positions of the first true value and behind the last one."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


class CocoFile:
    """A COCO file that is written photograph by photograph: polygons of many thousands do not fit into memory."""

    def __init__(self, file: BinaryIO, label_set: LabelSet) -> None:
        self._file = file
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        categories = [{"id": i, "name": name} for i, name in enumerate(label_set.names) if i]
        self._write(f'{{"info": {json.dumps({"description": f"faceparse, {label_set.name}"})},\n')
        self._write(f'"categories": {json.dumps(categories)},\n"annotations": [')

    def add(self, file_name: str, height: int, width: int, found: Sequence[dict[str, Any]]) -> None:
        """Write a photograph's annotations."""
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for annotation in found:
            self._write(",\n" if self._annotations else "\n")
            self._annotations += 1
            self._write(json.dumps({"id": self._annotations, "image_id": image_id} | annotation))

    def finish(self) -> None:
        """Write the list of images, which ends the file."""
        self._write(f'],\n"images": {json.dumps(self._images)}}}\n')

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


@contextmanager
def coco_file(path: Path, label_set: LabelSet) -> Iterator[CocoFile]:
    """Open a COCO file; it is put in place when the block is done."""
    with atomic_file(path) as file:
        coco = CocoFile(file, label_set)
        yield coco
        coco.finish()
