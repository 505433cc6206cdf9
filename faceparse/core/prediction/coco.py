"""Polygons as one COCO instances file."""

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
    """One for each class of each face: its polygons, a ring for each connected part.

    Points are pixel corners, so that a polygon's area is the number of its pixels. COCO's polygons know no holes: one
    is joined to its outline by a cut (see `joined_polygons`), and tools that fill polygons leave it open.
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
    """First true place, and the one behind the last."""
    places = np.flatnonzero(line)
    return int(places[0]), int(places[-1]) + 1


class CocoFile:
    """Written photograph by photograph: the polygons of many thousand do not fit into memory."""

    def __init__(self, file: BinaryIO, label_set: LabelSet) -> None:
        self._file = file
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        categories = [{"id": i, "name": name} for i, name in enumerate(label_set.names) if i]
        self._write(f'{{"info": {json.dumps({"description": f"faceparse, {label_set.name}"})},\n')
        self._write(f'"categories": {json.dumps(categories)},\n"annotations": [')

    def add(self, file_name: str, height: int, width: int, found: Sequence[dict[str, Any]]) -> None:
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
        for annotation in found:
            self._write(",\n" if self._annotations else "\n")
            self._annotations += 1
            self._write(json.dumps({"id": self._annotations, "image_id": image_id} | annotation))

    def finish(self) -> None:
        self._write(f'],\n"images": {json.dumps(self._images)}}}\n')

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


@contextmanager
def coco_file(path: Path, label_set: LabelSet) -> Iterator[CocoFile]:
    """Put in place when the block is done."""
    with atomic_file(path) as file:
        coco = CocoFile(file, label_set)
        yield coco
        coco.finish()
