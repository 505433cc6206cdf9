"""Label Studio: one JSON list of tasks, with brush masks, polygons, rectangles and ellipses."""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter

from faceparse.core.annotations.brush_bits import decode_brush, encode_brush
from faceparse.core.annotations.polygon_shape import PolygonShape
from faceparse.core.annotations.regions import AnnotatedPhotograph, Part, Region
from faceparse.core.annotations.round_shapes import ellipse, rectangle
from faceparse.core.annotations.runs_shape import RunsShape, lengths_of
from faceparse.core.annotations.tool_file import ToolFile
from faceparse.core.images.warp import Size

LOCAL_FILES = "/data/local-files/?d="
"""Address of a file that Label Studio serves itself; the path is below its document root."""
CONTROL, OBJECT = "label", "image"
"""Names of the brush and of the picture in the labelling interface."""
_UPLOAD = re.compile(r"[0-9a-f]{8}-(.+)")
"""Name of an uploaded file: Label Studio puts eight digits before it."""
_PLAIN = frozenset({"choices", "textarea", "rating", "number", "relation", "taxonomy", "datetime"})
"""Types of answers that are no regions."""
_Side = Annotated[int, Field(gt=0)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_Percent = Annotated[FiniteFloat, Field(ge=-1000, le=1000)]


class _Value(BaseModel, extra="allow"):
    points: list[tuple[_Percent, _Percent]] = []
    rle: list[_Byte] = []
    x: _Percent = 0
    y: _Percent = 0
    width: _Percent = 0
    height: _Percent = 0
    radiusX: _Percent = 0  # noqa: N815
    radiusY: _Percent = 0  # noqa: N815
    rotation: FiniteFloat = 0


class _Result(BaseModel):
    type: str
    value: _Value = _Value()
    original_width: _Side | None = None
    original_height: _Side | None = None
    image_rotation: float = 0


class _Answer(BaseModel):
    result: list[_Result]
    was_cancelled: bool | None = False
    ground_truth: bool | None = False


class _Task(BaseModel):
    data: dict[str, Any]
    annotations: list[_Answer] = []
    predictions: list[_Answer] = []


def is_label_studio(content: Any) -> bool:
    """Whether parsed JSON looks like Label Studio's."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(
            isinstance(one, dict) and "data" in one and {"annotations", "predictions"} & one.keys() for one in content
        )
    )


def read_label_studio(content: Any, where: str) -> list[AnnotatedPhotograph]:
    """Read a list of tasks. A task without an annotation says nothing; skipped ones do not count.

    The predictions count only if no task has an annotation: such a file holds nothing but pre-annotations.

    Raises:
        ValidationError: a key is missing, or has a bad value.
        ValueError: a task has several annotations, or no photograph.
    """
    tasks = TypeAdapter(list[_Task]).validate_python(content)
    annotated = any(task.annotations for task in tasks)
    found = []
    for i, task in enumerate(tasks):
        answers = [one for one in (task.annotations if annotated else task.predictions) if not one.was_cancelled]
        answers = [one for one in answers if one.ground_truth] or answers
        if len(answers) > 1:
            raise ValueError(f"{i}: {len(answers)} people annotated this task; mark one annotation as ground truth")
        if answers:
            found.append(_photograph(task, answers[0], str(i), where))
    return found


def _photograph(task: _Task, answer: _Answer, key: str, where: str) -> AnnotatedPhotograph:
    results = [(j, one) for j, one in enumerate(answer.result) if one.type not in _PLAIN]
    sizes = {(one.original_height, one.original_width) for _, one in results}
    if len(sizes) > 1:
        raise ValueError(f"{key}: regions of pictures of several sizes; export it again")
    height, width = sizes.pop() if sizes else (None, None)
    regions = tuple(
        Region(_label(one, f"{key}.result.{j}"), _BrushShape(one), f"{key}.result.{j}") for j, one in results
    )
    return AnnotatedPhotograph(_file_names(task, key), (height, width) if height and width else None, regions, where)


def _label(result: _Result, key: str) -> str:
    """The one label of a result: of a brush `brushlabels`, of a polygon `polygonlabels`, and so on."""
    lists = [value for name, value in (result.value.model_extra or {}).items() if name.endswith("labels")]
    if len(lists) != 1 or not isinstance(lists[0], list) or len(lists[0]) != 1 or not isinstance(lists[0][0], str):
        raise ValueError(f"{key}: not one label; give each region exactly one")
    return lists[0][0]


def _file_names(task: _Task, key: str) -> tuple[str, ...]:
    """Paths that the photograph may have: from its address, also without an upload's digits."""
    addresses = [value for value in task.data.values() if isinstance(value, str)]
    address = task.data.get(OBJECT) or (addresses[0] if len(addresses) == 1 else None)
    if not isinstance(address, str):
        raise ValueError(f"{key}.data: no {OBJECT!r}; call the photograph's field so")
    parts = urlsplit(address.replace("\\", "/"))
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    folder, slash, name = path.rpartition("/")
    upload = _UPLOAD.fullmatch(name)
    return (path, f"{folder}{slash}{upload[1]}") if upload else (path,)


class _BrushShape:
    """A result, which is decoded when it is drawn. Places are in percent of the picture."""

    def __init__(self, result: _Result) -> None:
        self._kind, self._value, self._rotation = result.type, result.value, result.image_rotation

    def part(self, size: Size) -> Part:
        value, scale = self._value, (size[1] / 100, size[0] / 100)
        if self._rotation:
            raise ValueError("drawn on a turned picture; turn it back and draw it again")
        if value.rle:
            return RunsShape(decode_brush(bytes(value.rle), size[0] * size[1]), size).part(size)
        if value.points:
            return PolygonShape((np.array(value.points) * scale,)).part(size)
        if value.radiusX:
            middle, radii = (
                (value.x * scale[0], value.y * scale[1]),
                (value.radiusX * scale[0], value.radiusY * scale[1]),
            )
            return ellipse(middle, radii, value.rotation).part(size)
        if value.width:
            corner = (value.x * scale[0], value.y * scale[1])
            if value.rotation:
                raise ValueError("a turned rectangle; draw a polygon")
            other = (corner[0] + value.width * scale[0], corner[1] + value.height * scale[1])
            return rectangle(corner, other).part(size)
        raise ValueError(f"{self._kind!r} covers no area; draw a polygon or with the brush")


def labelling_interface(classes: Mapping[str, str]) -> str:
    """The labelling interface that the pre-annotations fit, as Label Studio's XML.

    Args:
        classes: name -> colour, the background first.
    """
    labels = "".join(
        f'    <Label value={quoteattr(name)} background="{colour}"/>\n' for name, colour in list(classes.items())[1:]
    )
    return (
        f'<View>\n  <Image name="{OBJECT}" value="${OBJECT}" zoom="true"/>\n'
        f'  <BrushLabels name="{CONTROL}" toName="{OBJECT}">\n{labels}  </BrushLabels>\n</View>\n'
    )


class LabelStudioFile(ToolFile):
    """`labelstudio.json`, with a brush mask for each class of each face."""

    name: ClassVar[str] = "labelstudio.json"

    def begin(self) -> str:
        """Text before the tasks."""
        self._tasks = 0
        return "["

    def describe(self, label: np.ndarray, owner: np.ndarray) -> list[dict[str, Any]]:
        """One result for each class of each face. `face` is the number of the face, from 1."""
        return [
            {
                "id": f"face{face}-{id_}",
                "type": "brushlabels",
                "from_name": CONTROL,
                "to_name": OBJECT,
                "original_width": label.shape[1],
                "original_height": label.shape[0],
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": list(encode_brush(lengths_of(mask))),
                    "brushlabels": [self.label_set.names[id_]],
                },
                "meta": {"face": face},
            }
            for face, id_, mask in self.masks(label, owner)
        ]

    def entry(self, path: str, size: Size, described: list[dict[str, Any]]) -> str:
        """Text of a task."""
        self._tasks += 1
        task = {
            "data": {OBJECT: LOCAL_FILES + quote(path)},
            "predictions": [{"model_version": "faceparse", "result": described}],
        }
        return (",\n" if self._tasks > 1 else "\n") + json.dumps(task)

    def end(self) -> str:
        """Text after the tasks."""
        return "\n]\n"
