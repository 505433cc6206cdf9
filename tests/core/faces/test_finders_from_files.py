import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.faces.face import MOST_FACES, Face
from faceparse.core.faces.finders_from_files import Boxes, YuNet, face_finder
from tests.core.prediction.detector import POINTS, SIDE, make_detector

DARK = np.zeros((96, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> YuNet:
    return YuNet(make_detector(tmp_path_factory.mktemp("detector") / "yunet.onnx"))


@pytest.mark.parametrize("scale", [1, 8])
def test_faces_are_told_in_the_photographs_own_pixels(detector: YuNet, scale: int) -> None:
    """Eight times as large, the photograph is shrunk by two before it is looked at."""
    image = np.zeros((96 * scale, 160 * scale, 3), np.uint8)
    shrink = max(1, 160 * scale // 640)
    cell = 8 * shrink
    spots = [(4 * cell, 2 * cell), (12 * cell, 6 * cell)]
    for x, y in spots:
        image[y : y + cell, x : x + cell] = 255
    faces = sorted(detector("", image), key=lambda face: face.box)
    assert len(faces) == 2
    for face, (x, y) in zip(faces, spots, strict=True):
        middle, side = np.array([x, y]) + cell / 2, SIDE * shrink
        np.testing.assert_allclose(face.box, [*(middle - side / 2), side, side], atol=0.01)
        assert face.points is not None
        np.testing.assert_allclose(face.points, [x, y] + POINTS * shrink, atol=0.01)
        assert face.score > 0.99


def test_one_detector_sees_pictures_of_any_size(detector: YuNet) -> None:
    assert detector("", DARK) == []
    assert detector("", np.zeros((33, 700, 3), np.uint8)) == []


def test_another_network_is_no_detector(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("input", "out")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["out"])], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, ir_version=8), tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"junk")
    for name in ("a.onnx", "b.onnx"):
        with pytest.raises(DatasetError, match=rf"^{tmp_path}/{name}: not a YuNet face detector \("):
            face_finder(tmp_path / name)
    with pytest.raises(DatasetError, match=r"^cannot read .*/c.onnx: No such file"):
        face_finder(tmp_path / "c.onnx")
    with pytest.raises(SettingsError, match="not auto, none, YuNet's .onnx file or a .json file of boxes"):
        face_finder(tmp_path / "d.txt")


def boxes(content: Any) -> Boxes:
    path = Path("boxes.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    found = face_finder(path)
    assert isinstance(found, Boxes)
    return found


def test_boxes_go_by_the_photographs_path_or_by_its_name() -> None:
    points = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    finder = boxes(
        {"a.jpg": [[1, 2, 3, 4]], "x/a.jpg": [], "b.jpg": [{"box": [0, 0, 9, 8.5], "points": points, "score": 0.5}]}
    )
    assert finder("y/a.jpg", DARK) == [Face((1, 2, 3, 4))]
    assert finder("x/a.jpg", DARK) == []
    (face,) = finder("b.jpg", DARK)
    assert face.describe() == {"box": [0, 0, 9, 8.5], "score": 0.5, "points": points}


def test_a_photograph_that_is_not_in_the_boxes_is_told() -> None:
    with pytest.raises(DatasetError, match=r"^c.jpg: not in boxes.json; add it there, with \[\] if it shows no face$"):
        boxes({})("c.jpg", DARK)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("{", "Invalid JSON"),
        ([[1, 2, 3, 4]], "Input should be"),
        ({"a.jpg": [[1, 2, 0, 4]]}, "a.jpg.0.box.2: "),
        ({"a.jpg": [[1, 2, 3]]}, "a.jpg.0.box"),
        ({"a.jpg": [{"box": [1, 2, 3, 4], "points": [[1, 2]]}]}, "a.jpg.0.points: "),
        ({"a.jpg": [{"bbox": [1, 2, 3, 4]}]}, "a.jpg.0.b"),
    ],
    ids=str,
)
def test_boxes_of_another_form_are_refused_in_one_line(content: Any, place: str) -> None:
    with pytest.raises(DatasetError) as caught:
        boxes(content)
    assert str(caught.value).startswith(f"boxes.json: {place}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"\n<!DOCTYPE html><html>the page of the file</html>",
            "a web page, not a model; download the file itself; ",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:8f2383e4",
            "a Git LFS pointer, not the model itself; run",
        ),
    ],
    ids=["page", "pointer"],
)
def test_what_was_saved_in_the_detectors_place_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        face_finder(path)
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert "face_detection_yunet_2023mar.onnx" in str(caught.value)


def test_a_box_outside_its_photograph_is_told() -> None:
    found = boxes({"a.jpg": [[-5, -5, 10, 10]], "b.jpg": [[900, 10, 50, 50]]})
    assert len(found("a.jpg", DARK)) == 1
    with pytest.raises(DatasetError, match=r"^b.jpg: its box \[900, 10, 50, 50\] lies outside the photograph of "):
        found("b.jpg", DARK)


def test_a_photograph_has_a_bounded_number_of_faces() -> None:
    assert len(boxes({"a.jpg": [[0, 0, 9, 9]] * MOST_FACES})("a.jpg", DARK)) == MOST_FACES
    with pytest.raises(DatasetError, match=rf"^boxes.json: a.jpg: .*at most {MOST_FACES} items"):
        boxes({"a.jpg": [[0, 0, 9, 9]] * (MOST_FACES + 1)})
