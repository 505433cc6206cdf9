from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.annotations.cvat import CvatFile
from faceparse.core.labels.label_set import LabelSet
from tests.core.annotations.labels import HELEN, problem, redrawn, two_faces


def place(shapes: str, size: str = 'width="40" height="32"') -> Path:
    path = Path("annotations.xml")
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task/></meta>'
        f'<image id="0" name="photos/a.jpg" {size}>{shapes}<tag label="done"/></image></annotations>'
    )
    return path


def polygon(points: str, label: str = "skin", more: str = "") -> str:
    return f'<polygon label="{label}" source="manual" occluded="0" points="{points}" {more}/>'


SQUARE = "2.00,3.00;12.00,3.00;12.00,9.00;2.00,9.00"


def test_what_is_written_is_drawn_again() -> None:
    label, owner = two_faces()
    names = LabelSet(
        name="a&b", side="none", classes=dict(zip(["background", 'a"<b'], ["#000000", "#ff0000"], strict=True))
    )
    with CvatFile.open(Path(), HELEN) as cvat:
        cvat.add('a "&".jpg', (32, 40), cvat.describe(label, owner))
    assert np.array_equal(redrawn(Path("cvat.xml")), label)
    (photograph,) = read_annotations(Path("cvat.xml"))
    assert photograph.file_names == ('a "&".jpg',)
    faces = {one.get("group_id") for one in ElementTree.parse("cvat.xml").iter("mask")}
    assert faces == {"1", "2"}
    with CvatFile.open(Path(), names) as cvat:
        cvat.add("a.jpg", (2, 2), cvat.describe(np.eye(2, dtype=np.uint8), np.eye(2, dtype=np.uint16)))
    assert np.array_equal(read_annotations(Path("cvat.xml"))[0].draw(names, (2, 2)).label, np.eye(2))
    assert [one.text for one in ElementTree.parse("cvat.xml").iter("name")] == ['a"<b']


def test_every_shape_with_an_area_is_drawn() -> None:
    path = place(
        polygon(SQUARE)
        + '<box label="hair" xtl="20.0" ytl="1.0" xbr="24.0" ybr="5.0"/>'
        + '<ellipse label="nose" cx="30.0" cy="20.0" rx="4.0" ry="6.0"/>'
        + '<mask label="left_eye" rle="1, 2, 3" left="5" top="20" width="3" height="2"/>'
    )
    expected = np.zeros((32, 40), np.uint8)
    expected[3:9, 2:12] = 1
    expected[1:5, 20:24] = 10
    expected[20, 6:8] = 4
    label = redrawn(path)
    assert np.array_equal(np.where(label == 6, 0, label), expected)
    assert abs(int((label == 6).sum()) - np.pi * 24) < 6


def test_a_higher_z_order_lies_over_a_lower_one_then_later_shapes_over_earlier_ones() -> None:
    high, low = polygon(SQUARE, "nose", 'z_order="2"'), polygon(SQUARE, "skin", 'z_order="1"')
    assert redrawn(place(high + low))[4, 4] == redrawn(place(low + high))[4, 4] == 6
    same = polygon(SQUARE, "skin", 'z_order="2"')
    assert redrawn(place(high + same))[4, 4] == 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (polygon("1,2;3,4"), "2 points are no polygon; draw it again"),
        (polygon("1,2;3"), "'points' are not pairs of numbers; draw it again"),
        (polygon("1,2;3,x;5,6"), "'points' is 'x', not a number of pixels"),
        (polygon("1,2;3,nan;5,6"), "'points' is 'nan', not a number of pixels"),
        (polygon("1,2;300,4;5,6"), "from (1, 2) to (300, 6), outside the picture of 40 x 32"),
        ('<polyline label="skin" points="1,2;3,4"/>', "a polyline covers no area; draw a polygon or a mask"),
        (
            '<mask label="skin" rle="3, 2" left="0" top="0" width="3" height="2"/>',
            "its runs do not add up to 3 x 2 pixels; export it again",
        ),
        (
            '<mask label="skin" rle="6" left="39" top="0" width="3" height="2"/>',
            "a mask of 3 x 2 at (39, 0), outside the picture of 40 x 32",
        ),
        ('<mask label="skin" left="0" top="0" width="3" height="2"/>', "'rle' is '', not a number of pixels"),
        ('<box label="skin" xtl="1" ytl="2" xbr="3"/>', "'ybr' is '', not a number of pixels"),
    ],
)
def test_shapes_that_are_none_are_named(shape: str, expected: str) -> None:
    kind = shape[1:].split(" ")[0]
    assert problem(place(shape)) == f"photos/a.jpg: image 0, {kind} 0 (skin): {expected}"


def test_what_is_no_cvat_for_images_is_refused() -> None:
    path = place("", size='width="40"')
    assert problem(path) == "image 0: 'height' is '', not a number of pixels"
    path.write_text("<annotations><track/></annotations>")
    assert problem(path) == "CVAT for video, not CVAT for images; export the task as 'CVAT for images 1.1'"
    path.write_text("<annotation><filename>a.jpg</filename></annotation>")
    assert problem(path) == "<annotation>, not CVAT for images; export the task as 'CVAT for images 1.1'"
    path.write_text("<annotations>")
    assert problem(path) == "not valid XML (no element found: line 1, column 13); export it again"


def test_entities_are_refused() -> None:
    path = Path("laughs.xml")
    bomb = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefg", "bcdefgh", strict=True))
    path.write_text(f'<!DOCTYPE x [<!ENTITY a "ha">{bomb}]><annotations>&h;</annotations>')
    assert problem(path) == "declares a document type, which no annotation tool does; remove it"
