"""CVAT for images 1.1: one XML file for many photographs, with polygons, masks, boxes and ellipses."""

from collections.abc import Mapping
from typing import ClassVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from faceparse.core.annotations.polygon_shape import PolygonShape
from faceparse.core.annotations.regions import AnnotatedPhotograph, Part, Region
from faceparse.core.annotations.round_shapes import ellipse, rectangle
from faceparse.core.annotations.runs_shape import RunsShape, box_of, int_lengths, lengths_of
from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.images.warp import Size


def parse_xml(text: str) -> Element:
    """Parse XML that anybody may have written.

    Raises:
        ValueError: it is not XML, or declares a document type, by which a few lines can become gigabytes.
    """
    if "<!DOCTYPE" in text:
        raise ValueError("declares a document type, which no annotation tool does; remove it")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not valid XML ({error}); export it again") from None


def read_cvat(root: Element, where: str) -> list[AnnotatedPhotograph]:
    """Read a CVAT file. Shapes are drawn by their `z_order`, those of one order as in the file.

    Raises:
        ValueError: it is of another kind, or a value is missing or bad.
    """
    if root.tag != "annotations" or root.find("track") is not None:
        kind = "CVAT for video" if root.tag == "annotations" else f"<{root.tag[:40]}>"
        raise ValueError(f"{kind}, not CVAT for images; export the task as 'CVAT for images 1.1'")
    return [_photograph(image, f"image {i}", where) for i, image in enumerate(root.iter("image"))]


def _photograph(image: Element, key: str, where: str) -> AnnotatedPhotograph:
    name = image.get("name")
    if not name:
        raise ValueError(f"{key}: 'name' is missing")
    size = (_whole(image.attrib, "height", key), _whole(image.attrib, "width", key))
    if min(size) < 1:
        raise ValueError(f"{key}: height and width are {size[0]} and {size[1]}")
    shapes = [(i, one) for i, one in enumerate(image) if one.tag != "tag"]
    shapes.sort(key=lambda pair: _whole(pair[1].attrib, "z_order", key, default=0))
    regions = tuple(Region(one.get("label", ""), _CvatShape(one), f"{key}, {one.tag} {i}") for i, one in shapes)
    return AnnotatedPhotograph((name.replace("\\", "/"),), size, regions, where)


class _CvatShape:
    """An element, which is decoded when it is drawn."""

    def __init__(self, element: Element) -> None:
        self._kind, self._values = element.tag, dict(element.attrib)

    def part(self, size: Size) -> Part:
        values = self._values
        if self._kind == "mask":
            left, top, width, height = (_whole(values, name) for name in ("left", "top", "width", "height"))
            counts = int_lengths([int(_parsed(one, "rle", int)) for one in values.get("rle", "").split(",")])
            return RunsShape(counts, (height, width), (left, top)).part(size)
        if self._kind == "polygon":
            points = [
                [_parsed(one, "points", float) for one in point.split(",")]
                for point in values.get("points", "").split(";")
            ]
            if any(len(point) != 2 for point in points):
                raise ValueError("'points' are not pairs of numbers; draw it again")
            return PolygonShape((np.array(points),)).part(size)
        turned = _number(values, "rotation", default=0)
        if self._kind == "box":
            x, y, x2, y2 = (_number(values, name) for name in ("xtl", "ytl", "xbr", "ybr"))
            return rectangle((x, y), (x2, y2), turned).part(size)
        if self._kind == "ellipse":
            x, y, rx, ry = (_number(values, name) for name in ("cx", "cy", "rx", "ry"))
            return ellipse((x, y), (rx, ry), turned).part(size)
        raise ValueError(f"a {self._kind} covers no area; draw a polygon or a mask")


def _whole(values: Mapping[str, str], name: str, key: str = "", default: int | None = None) -> int:
    if name not in values and default is not None:
        return default
    return int(_parsed(values.get(name, ""), name, int, key))


def _number(values: Mapping[str, str], name: str, default: float | None = None) -> float:
    if name not in values and default is not None:
        return default
    return _parsed(values.get(name, ""), name, float)


def _parsed(text: str, name: str, kind: type[int] | type[float], key: str = "") -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:  # also nan
        raise ValueError(f"{key + ': ' if key else ''}{name!r} is {text[:40]!r}, not a number of pixels")
    return value


class CvatFile(ToolFile):
    """`cvat.xml`, with a mask for each class of each face."""

    name: ClassVar[str] = "cvat.xml"

    def begin(self) -> str:
        """Text before the photographs: the version, and the labels that the task needs."""
        self._images = 0
        labels = "".join(
            f"<label><name>{escape(name)}</name><color>{colour}</color><type>mask</type><attributes/></label>\n"
            for name, colour in list(self.label_set.classes.items())[1:]
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><labels>\n{labels}</labels></task></meta>\n"
        )

    def describe(self, label: np.ndarray, owner: np.ndarray) -> str:
        """One mask for each class of each face, as text. `group_id` is the number of the face, from 1."""
        text = ""
        for face, id_, mask in self.masks(label, owner):
            rows, columns = box_of(mask)
            runs = ", ".join(map(str, lengths_of(mask[rows, columns])))
            text += (
                f'<mask label={quoteattr(self.label_set.names[id_])} source="auto" occluded="0" rle="{runs}" '
                f'left="{columns.start}" top="{rows.start}" width="{columns.stop - columns.start}" '
                f'height="{rows.stop - rows.start}" z_order="0" group_id="{face}"></mask>\n'
            )
        return text

    def entry(self, path: str, size: Size, described: str) -> str:
        """Text of a photograph."""
        self._images += 1
        return (
            f'<image id="{self._images - 1}" name={quoteattr(path)} width="{size[1]}" height="{size[0]}">\n'
            f"{described}</image>\n"
        )

    def end(self) -> str:
        """Text after the photographs."""
        return "</annotations>\n"
