"""LabelMe: one JSON file for each photograph, with polygons, masks, rectangles and circles."""

import base64
import binascii
import io
import json
import math
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image, ImageDraw
from pydantic import BaseModel, Field, FiniteFloat

from faceparse.core.annotations.nested_outlines import nested_outlines
from faceparse.core.annotations.regions import AnnotatedPhotograph, Part, Region, clip
from faceparse.core.images.opening import DAMAGED, open_picture
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import Classes

VERSION = "5.5.0"
"""A version of LabelMe that has every kind of shape we write."""
_Side = Annotated[int, Field(gt=0)]


class _Shape(BaseModel):
    label: str
    points: list[tuple[FiniteFloat, FiniteFloat]]
    shape_type: str | None = "polygon"
    mask: str | None = None


class _File(BaseModel):
    path: str = Field(alias="imagePath")
    height: _Side | None = Field(None, alias="imageHeight")
    width: _Side | None = Field(None, alias="imageWidth")
    shapes: list[_Shape]


def is_labelme(content: Any) -> bool:
    """Whether parsed JSON looks like LabelMe's."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read_labelme(content: Any, where: str) -> list[AnnotatedPhotograph]:
    """Read a LabelMe file, whose path of the photograph begins at its own folder.

    A photograph that is embedded in it is not opened.

    Raises:
        ValidationError: a key is missing, or has a bad value.
    """
    file = _File.model_validate(content)
    size = (file.height, file.width) if file.height and file.width else None
    regions = tuple(
        Region(shape.label, LabelmeShape(shape.shape_type or "polygon", shape.points, shape.mask), f"shapes.{i}")
        for i, shape in enumerate(file.shapes)
    )
    path = file.path.replace("\\", "/")
    there = posixpath.normpath(posixpath.join(Path(where).parent.as_posix(), path))
    return [AnnotatedPhotograph((path, there), size, regions, where)]


@dataclass(frozen=True)
class LabelmeShape:
    """A shape, drawn as LabelMe draws it: points are pixels, and the outline's pixels are inside."""

    kind: str
    points: Sequence[tuple[float, float]]
    """(x, y) of each."""
    mask: str | None = None
    """PNG in base64, of the box from the first point to the second."""

    def part(self, size: Size) -> Part:
        """Return its pixels; see `Shape`."""
        needed = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2, "oriented_rectangle": 4}
        if self.kind not in needed:
            raise ValueError(f"a {self.kind} covers no area; draw a polygon or a mask")
        count = len(self.points)
        if count < needed[self.kind] or (count > needed[self.kind] and self.kind != "polygon"):
            raise ValueError(f"{count} points are no {self.kind}; draw it again")
        if self.kind == "mask":
            return self._mask(size)
        if self.kind == "circle":
            (x, y), other = self.points
            radius = math.hypot(other[0] - x, other[1] - y)
            box = np.array([[x - radius, y - radius], [x + radius, y + radius]])
            rows, columns = clip(box[0], box[1] + 1, size, outside=1)
        else:
            box = np.array([np.min(self.points, axis=0), np.max(self.points, axis=0)])
            rows, columns = clip(box[0], np.floor(box[1]) + 1, size)
        picture = Image.new("L", (columns.stop - columns.start, rows.stop - rows.start))
        draw, corner = ImageDraw.Draw(picture), (columns.start, rows.start)
        if self.kind == "circle":
            draw.ellipse((box - corner).ravel().tolist(), outline=1, fill=1)
        elif self.kind == "rectangle":
            draw.rectangle((box - corner).ravel().tolist(), outline=1, fill=1)
        else:
            draw.polygon((np.array(self.points) - corner).ravel().tolist(), outline=1, fill=1)
        return Part(rows, columns, np.asarray(picture).astype(bool))

    def _mask(self, size: Size) -> Part:
        (left, top), (right, bottom) = np.trunc(self.points).astype(np.int64).tolist()
        rows, columns = slice(top, bottom + 1), slice(left, right + 1)
        if left < 0 or top < 0 or right < left or bottom < top or right >= size[1] or bottom >= size[0]:
            raise ValueError(f"a mask at ({left}, {top}) to ({right}, {bottom}), outside {size[1]} x {size[0]}")
        try:
            with open_picture(io.BytesIO(base64.b64decode(self.mask or "", validate=True))) as picture:
                fits = picture.size == (right - left + 1, bottom - top + 1)
                found = np.asarray(picture.convert("L")) != 0 if fits else None
        except (*DAMAGED, binascii.Error) as error:
            raise ValueError(f"its mask cannot be read ({error}); draw it again") from None
        if found is None:
            raise ValueError(f"a mask of {picture.width} x {picture.height} in another box; draw it again")
        return Part(rows, columns, found)


def encode_labelme(path: str, label: np.ndarray, owner: np.ndarray, label_set: Classes) -> bytes:
    """The LabelMe file of a label map: a polygon for each connected part of each class of each face.

    LabelMe draws the same label from them, to the pixel: a part within another one comes later. `group_id` is the
    number of the face, from 1.

    Args:
        path: path of the photograph, from the folder of the file.
        label: H x W uint8 ids.
        owner: H x W, the number of the pixel's face; 0 for background.
    """
    shapes = [
        {
            "label": label_set.names[outline.label],
            "points": (outline.points.tolist() * 3)[: max(3, len(outline.points))],
            "group_id": outline.owner or None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for outline in nested_outlines(label, owner)
    ]
    content = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": path,
        "imageData": None,
        "imageHeight": label.shape[0],
        "imageWidth": label.shape[1],
    }
    return (json.dumps(content) + "\n").encode()
