import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.annotations.brush_bits import encode_brush
from faceparse.core.annotations.label_studio import LabelStudioFile, labelling_interface
from faceparse.core.annotations.runs_shape import lengths_of
from tests.core.annotations.labels import HELEN, problem, redrawn, two_faces

SQUARE = {"points": [[10, 25], [50, 25], [50, 75], [10, 75]], "closed": True}
"""Of a picture of 40 x 32: columns 4 to 20, rows 8 to 24."""


def result(value: dict[str, Any], kind: str = "polygonlabels", name: str = "skin", **others: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "original_width": 40,
        "original_height": 32,
        "image_rotation": 0,
        "value": value | {kind: [name]},
    } | others


def task(*results: dict[str, Any], image: str = "/data/upload/1/0a1b2c3d-a%20b.jpg", **others: Any) -> dict[str, Any]:
    return {"id": 5, "data": {"image": image}, "annotations": [{"result": list(results)}]} | others


def place(*tasks: object) -> Path:
    path = Path("export.json")
    path.write_text(json.dumps(tasks))
    return path


def test_what_is_written_is_drawn_again() -> None:
    label, owner = two_faces()
    with LabelStudioFile.open(Path(), HELEN) as file:
        file.add("holidays/a b.jpg", (32, 40), file.describe(label, owner))
    path = Path("labelstudio.json")
    assert np.array_equal(redrawn(path), label)
    assert read_annotations(path)[0].file_names == ("holidays/a b.jpg",)
    results = json.loads(path.read_text())[0]["predictions"][0]["result"]
    assert {one["meta"]["face"] for one in results} == {1, 2}
    interface = labelling_interface(HELEN.classes)
    assert {(one["from_name"], one["to_name"]) for one in results} == {("label", "image")}
    assert '<BrushLabels name="label" toName="image">' in interface
    assert all(f'<Label value="{one["value"]["brushlabels"][0]}"' in interface for one in results)


def test_every_region_with_an_area_is_drawn() -> None:
    mask = np.zeros((32, 40), bool)
    mask[1:4, 30:38] = True
    brush = {"format": "rle", "rle": list(encode_brush(lengths_of(mask)))}
    path = place(
        task(
            result(SQUARE),
            result({"x": 50, "y": 50, "width": 25, "height": 12.5, "rotation": 0}, "rectanglelabels", "hair"),
            result({"x": 75, "y": 75, "radiusX": 10, "radiusY": 12.5}, "ellipselabels", "nose"),
            result(brush, "brushlabels", "left_eye"),
            {"type": "choices", "value": {"choices": ["good"]}},
        )
    )
    expected = np.zeros((32, 40), np.uint8)
    expected[8:24, 4:20] = 1
    expected[16:20, 20:30] = 10
    expected[mask] = 4
    label = redrawn(path)
    assert np.array_equal(np.where(label == 6, 0, label), np.where(label == 6, 0, expected))
    assert abs(int((label == 6).sum()) - np.pi * 16) < 6


def test_an_uploaded_photograph_may_have_its_own_name() -> None:
    assert read_annotations(place(task()))[0].file_names == (
        "/data/upload/1/0a1b2c3d-a b.jpg",
        "/data/upload/1/a b.jpg",
    )
    local = task(image="/data/local-files/?d=holidays/trip/a%20b.jpg")
    assert read_annotations(place(local))[0].file_names == ("holidays/trip/a b.jpg",)
    assert read_annotations(place(task(image="s3://bucket/faces/a.jpg")))[0].file_names == ("/faces/a.jpg",)


def test_annotations_count_and_predictions_only_where_there_are_none() -> None:
    answer = {"result": [result(SQUARE)]}
    guessed = {"data": {"image": "b.jpg"}, "annotations": [], "predictions": [answer]}
    assert [one.file_names[-1] for one in read_annotations(place(guessed))] == ["b.jpg"]
    assert [one.file_names[-1] for one in read_annotations(place(task(image="a.jpg"), guessed))] == ["a.jpg"]
    skipped = task(annotations=[answer | {"was_cancelled": True}])
    assert read_annotations(place(skipped)) == []


def test_of_several_annotations_the_ground_truth_counts() -> None:
    several = [{"result": [result(SQUARE)]}, {"result": [result(SQUARE, name="hair")], "ground_truth": True}]
    assert redrawn(place(task(annotations=several)))[10, 10] == 10
    assert problem(place(task(annotations=several[:1] * 2))) == (
        "0: 2 people annotated this task; mark one annotation as ground truth"
    )


BRUSH = list(encode_brush([32 * 40]))


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (result({"points": [[1, 1], [2, 2]]}), "2 points are no polygon; draw it again"),
        (
            result({"points": [[1, 1], [500, 1], [1, 2]]}),
            "from (0.4, 0.32) to (200, 0.64), outside the picture of 40 x 32",
        ),
        (result({"rle": BRUSH[:-1]}, "brushlabels"), "its runs end too early; export it again"),
        (
            result({"rle": list(encode_brush([77]))}, "brushlabels"),
            "a mask of 77 pixels, its picture has 1280",
        ),
        (result(SQUARE, image_rotation=90), "drawn on a turned picture; turn it back and draw it again"),
        (
            result({"x": 3, "y": 3}, "keypointlabels"),
            "'keypointlabels' covers no area; draw a polygon or with the brush",
        ),
        (
            result({"x": 3, "y": 3, "width": 9, "height": 9, "rotation": 5}, "rectanglelabels"),
            "a turned rectangle; draw a",
        ),
    ],
)
def test_regions_that_are_none_are_named(one: dict[str, Any], expected: str) -> None:
    assert problem(place(task(one, image="a.jpg"))).startswith(f"a.jpg: 0.result.0 (skin): {expected}")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (task(result(SQUARE | {"labels": ["hair"]})), "0.result.0: not one label; give each region exactly one"),
        (task(result({}, "polygonlabels", name="") | {"value": {}}), "0.result.0: not one label; give each region"),
        (task(result(SQUARE), result(SQUARE, original_width=41)), "0: regions of pictures of several sizes; export it"),
        (task() | {"data": {"a": "x.jpg", "b": "y.jpg"}}, "0.data: no 'image'; call the photograph's field so"),
        (
            task(result({"rle": [256]}, "brushlabels")),
            "0.annotations.0.result.0.value.rle.0: Input should be less than",
        ),
    ],
)
def test_other_content_is_named_by_its_key(one: dict[str, Any], expected: str) -> None:
    assert problem(place(one)).startswith(expected)
