"""COCO instances: one JSON file for many photographs, with polygons and run lengths."""

import json
from collections import defaultdict
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat

from faceparse.core.annotations.polygon_shape import PolygonShape
from faceparse.core.annotations.regions import AnnotatedPhotograph, Part, Region, Shape
from faceparse.core.annotations.runs_shape import RunsShape, box_of, int_lengths
from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.images.polygons import joined_polygons
from faceparse.core.images.warp import Size

_Side = Annotated[int, Field(gt=0)]


class _Image(BaseModel):
    id: int | str
    file_name: str
    height: _Side | None = None
    width: _Side | None = None


class _Category(BaseModel):
    id: int
    name: str


class _Runs(BaseModel):
    size: tuple[_Side, _Side]
    counts: str | list[int]


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    segmentation: list[list[FiniteFloat]] | _Runs = []


class _File(BaseModel):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Annotation]


def is_coco(content: Any) -> bool:
    """Whether parsed JSON looks like COCO's instances."""
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def read_coco(content: Any, where: str) -> list[AnnotatedPhotograph]:
    """Read a COCO file. Annotations are drawn in the order of the file.

    Raises:
        ValidationError: a key is missing, or has a bad value.
        ValueError: an annotation names a photograph or category that the file does not have.
    """
    file = _File.model_validate(content)
    names = {category.id: category.name for category in file.categories}
    known = {image.id for image in file.images}
    regions = defaultdict[int | str, list[Region]](list)
    for i, one in enumerate(file.annotations):
        key = f"annotations.{i}"
        if one.category_id not in names:
            raise ValueError(f"{key}.category_id: {one.category_id} is not in its categories")
        if one.image_id not in known:
            raise ValueError(f"{key}.image_id: {one.image_id} is not in its images")
        regions[one.image_id].append(Region(names[one.category_id], _CocoShape(one), key))
    return [
        AnnotatedPhotograph(
            (image.file_name.replace("\\", "/"),),
            (image.height, image.width) if image.height and image.width else None,
            tuple(regions[image.id]),
            where,
        )
        for image in file.images
    ]


class _CocoShape:
    """A segmentation, which is decoded when it is drawn."""

    def __init__(self, annotation: _Annotation) -> None:
        self._segmentation = annotation.segmentation

    def part(self, size: Size) -> Part:
        return self._shape().part(size)

    def _shape(self) -> Shape:
        found = self._segmentation
        if isinstance(found, _Runs):
            counts = decode_counts(found.counts) if isinstance(found.counts, str) else int_lengths(found.counts)
            return RunsShape(counts, found.size, by_columns=True)
        if not found:
            raise ValueError("has a box at most, no polygon or mask; draw one")
        if any(len(ring) % 2 for ring in found):
            raise ValueError("an x without its y; draw it again")
        return PolygonShape(tuple(np.array(ring).reshape(-1, 2) for ring in found))


def decode_counts(text: str) -> np.ndarray:
    """Lengths of the runs that a string stands for, int64.

    A character holds five bits of a number, the lowest ones first, and a bit that says whether more follow. From the
    fourth number on, it is the difference from the length two before it.

    Raises:
        ValueError: it is no such string.
    """
    codes = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError("its counts are no run lengths; export it again")
    last = codes & 32 == 0
    first = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(codes)) - np.repeat(first, np.diff(np.append(first, len(codes))))
    if place.max() > 11:
        raise ValueError("a run is longer than any picture; export it again")
    values = np.add.reduceat((codes & 31) << 5 * place, first)
    negative = codes[last] & 16 != 0
    values -= np.where(negative, np.int64(1) << 5 * (place[last] + 1), 0)
    for start in (1, 2):
        values[start::2] = values[start::2].cumsum()
    return values


def encode_counts(lengths: np.ndarray) -> str:
    """Text of the lengths of runs, int64: what `decode_counts` reads."""
    values = lengths.copy()
    values[3:] -= lengths[1:-2]
    codes = np.zeros((len(values), 13), np.uint8)
    more = np.ones(len(values), bool)
    for place in range(codes.shape[1]):
        five, values = values & 31, values >> 5
        goes_on = np.where(five & 16, values != -1, values != 0)
        codes[:, place] = np.where(more, 48 + five + 32 * goes_on, 0)
        more &= goes_on
        if not more.any():
            break
    return codes[codes != 0].tobytes().decode()


class CocoFile(ToolFile):
    """`coco.json`, with a polygon for each class of each face."""

    name: ClassVar[str] = "coco.json"

    def begin(self) -> str:
        """Text before the annotations."""
        self._images: list[dict[str, Any]] = []
        self._annotations = 0
        categories = [{"id": i, "name": name} for i, name in enumerate(self.label_set.names) if i]
        info = {"description": f"faceparse, {self.label_set.name}"}
        return f'{{"info": {json.dumps(info)},\n"categories": {json.dumps(categories)},\n"annotations": ['

    def describe(self, label: np.ndarray, owner: np.ndarray) -> list[dict[str, Any]]:
        """One annotation for each class of each face: its polygons, with a ring for each connected part.

        Points are pixel corners, so a polygon's area is its number of pixels. COCO's polygons have no holes: a hole is
        joined to the outline by a cut (see `joined_polygons`), and tools that fill the polygon leave the hole open.
        """
        found = []
        for face, id_, mask in self.masks(label, owner):
            rows, columns = box_of(mask)
            found.append(
                {
                    "category_id": id_,
                    "face": face - 1,
                    "segmentation": [ring.ravel().tolist() for ring in joined_polygons(mask)],
                    "area": int(np.count_nonzero(mask)),
                    "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                    "iscrowd": 0,
                }
            )
        return found

    def entry(self, path: str, size: Size, described: list[dict[str, Any]]) -> str:
        """Text of a photograph's annotations."""
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "file_name": path, "height": size[0], "width": size[1]})
        text = ""
        for annotation in described:
            text += ",\n" if self._annotations else "\n"
            self._annotations += 1
            text += json.dumps({"id": self._annotations, "image_id": image_id} | annotation)
        return text

    def end(self) -> str:
        """Text of the list of images, which ends the file."""
        return f'],\n"images": {json.dumps(self._images)}}}\n'
