import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.annotations.labelme import encode_labelme
from tests.core.annotations.labels import FASSEG, HELEN, problem, redrawn, two_faces

MASK = np.array([[1, 0, 1], [0, 1, 0]], np.uint8)


def base64_png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


SHAPES: list[dict[str, Any]] = [
    {"label": "skin", "points": [[1.2, 0.7], [26.5, 2.4], [24.9, 16.8], [3.3, 17.6]], "shape_type": "polygon"},
    {"label": "hair", "points": [[2, 0], [27, 0], [27, 4], [9.5, 6.25], [2, 4]]},
    {"label": "mouth", "points": [[8.6, 14.2], [17.4, 11.7]], "shape_type": "rectangle"},
    {"label": "eyes", "points": [[9.4, 8.5], [11.2, 9.9]], "shape_type": "circle"},
    {"label": "nose", "points": [[12, 5], [18, 12], [12, 12], [18, 5]], "shape_type": "polygon", "group_id": 3},
    {"label": "eyes", "points": [[20, 7], [22, 8]], "shape_type": "mask", "mask": base64_png(MASK)},
]
DRAWN = """
021111111111111111111111111100
021111111111111111111111111100
021111111111111111111111111100
021111111111111111111111111100
021111111111111111111111111100
002222111111555555522222222000
002222223332255555222222220000
002222233333225552223232220000
002222233333222522222322220000
002222233333222522222222220000
002222223332225552222222220000
002222224444455555222222220000
002222224444555555522222220000
000222224444444444222222200000
000222224444444444222222200000
000222222222222222222222200000
000222222222222222222222200000
000200000000000000000000000000
000000000000000000000000000000
000000000000000000000000000000
"""
"""What `labelme.utils.shapes_to_label` (6.3.1) drew of `SHAPES`, with the ids of FASSEG."""


def place(shapes: object, **others: object) -> Path:
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": "..\\photos\\a.jpg", "imageData": None}
    path = Path("a.json")
    path.write_text(json.dumps(content | {"imageHeight": 20, "imageWidth": 30} | others))
    return path


def test_shapes_are_drawn_as_labelme_draws_them() -> None:
    (photograph,) = read_annotations(place(SHAPES))
    assert photograph.file_names == ("../photos/a.jpg", "../photos/a.jpg")
    assert photograph.size == (20, 30)
    expected = np.array([list(map(int, line)) for line in DRAWN.split()])
    assert np.array_equal(photograph.draw(FASSEG, (1, 1)).label, expected)


def test_what_is_written_is_drawn_again() -> None:
    label, owner = two_faces()
    path = Path("a.json")
    path.write_bytes(encode_labelme("../a.jpg", label, owner, HELEN))
    assert np.array_equal(redrawn(path), label)
    shapes = json.loads(path.read_text())["shapes"]
    assert {one["group_id"] for one in shapes if one["label"] != "background"} == {1, 2}
    assert all(len(one["points"]) >= 3 for one in shapes)


def test_a_size_that_is_not_said_is_the_photographs() -> None:
    (photograph,) = read_annotations(place(SHAPES[:1], imageHeight=None))
    assert photograph.size is None
    assert photograph.draw(HELEN, (40, 50)).label.shape == (40, 50)


def test_an_embedded_photograph_is_not_opened() -> None:
    assert redrawn(place([], imageData="no picture at all")).sum() == 0


def shape(points: list[list[float]], kind: str = "polygon", **others: object) -> dict[str, Any]:
    return {"label": "skin", "points": points, "shape_type": kind} | others


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (shape([[1, 1], [2, 2]]), "2 points are no polygon; draw it again"),
        (shape([[1, 1]], "circle"), "1 points are no circle; draw it again"),
        (shape([]), "0 points are no polygon; draw it again"),
        (shape([[1, 1], [9, 9]], "line"), "a line covers no area; draw a polygon or a mask"),
        (shape([[1, 1], [300, 9], [4, 9]]), "from (1, 1) to (301, 10), outside the picture of 30 x 20"),
        (shape([[1, 1], [30, 3]], "mask", mask=base64_png(MASK)), "a mask at (1, 1) to (30, 3), outside 30 x 20"),
        (
            shape([[1, 1], [9, 9]], "mask", mask=base64_png(MASK)),
            "a mask of 3 x 2 in another box; draw it again",
        ),
        (
            shape([[1, 1], [3, 2]], "mask"),
            "its mask cannot be read (not a picture of a known format, or an empty file)",
        ),
        (shape([[1, 1], [3, 2]], "mask", mask="###"), "its mask cannot be read (Only base64 data is allowed); draw it"),
    ],
)
def test_shapes_that_are_none_are_named(one: dict[str, Any], expected: str) -> None:
    assert problem(place([SHAPES[0] | {"label": "hair"}, one])).startswith(
        f"../photos/a.jpg: shapes.1 (skin): {expected}"
    )


def test_all_problems_of_a_photograph_are_in_one_line() -> None:
    bad = [shape([[1, 1], [2, 2]]), {"label": "nose ring", "points": [[1, 1], [5, 5], [1, 5]]}]
    assert problem(place(bad * 3)) == (
        "../photos/a.jpg: shapes.0 (skin): 2 points are no polygon; draw it again; "
        "shapes.1: 'nose ring' is no class of helen; "
        "shapes.2 (skin): 2 points are no polygon; draw it again; and 3 more"
    )


@pytest.mark.parametrize(
    ("shapes", "others", "expected"),
    [
        ("none", {}, "shapes: Input should be a valid list; export it again"),
        ([{"points": []}], {}, "'shapes.0.label' is missing; export it again"),
        ([], {"imagePath": 3}, "imagePath: Input should be a valid string; export it again"),
        ([], {"imageHeight": -3}, "imageHeight: Input should be greater than 0; export it again"),
    ],
)
def test_other_content_is_named_by_its_key(shapes: object, others: dict[str, object], expected: str) -> None:
    assert problem(place(shapes, **others)) == expected


def test_numbers_that_are_none_are_refused() -> None:
    path = place(SHAPES)
    for word in ("NaN", "1e999"):
        path.write_text(path.read_text().replace("26.5", word))
        assert problem(path)
        place(SHAPES)


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    huge = place(SHAPES, imageHeight=10**6, imageWidth=10**6)
    assert problem(huge) == "../photos/a.jpg: more than 150 megapixels"
