"""What photographs are grouped by, against numbers worked out pixel by pixel and faces drawn with a known turn."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.drawing import drawn_face
from faceparse.core.drawing.drawn_classes import CLASSES
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.scoring.built_in_groups import (
    NAMES,
    TURNED,
    face_groupings,
    face_shares,
    face_sides,
    measured_groupings,
    nose_offset,
    photograph_groupings,
    skin_colour,
)
from faceparse.core.scoring.records import Counts, count_image
from tests.core.images.test_cie_lab import lab_of
from tests.core.scoring.images import stacked

HELEN = get_label_set("helen")
WITHOUT = LabelSet(name="x", side="none", classes={"a": "#000000", "b": "#000001"})


def test_colour_is_that_of_the_skin_alone(faces: Path) -> None:
    samples = DatasetFolder(faces).samples("train")[:5]
    lightness, hue, *_ = photograph_groupings(samples, HELEN)
    assert (lightness.name, hue.name) == NAMES[:2]
    assert lightness.values is not None
    assert hue.values is not None
    for sample, light, angle in zip(samples, lightness.values, hue.values, strict=True):
        image, label = read_image(sample.image), read_label(sample.label)
        skin = [
            lab_of(tuple(pixel.tolist()))
            for pixel, name in zip(image.reshape(-1, 3), label.ravel(), strict=True)
            if HELEN.names[name] == "skin"
        ]
        lights, (a, b) = sorted(one[0] for one in skin), (sum(one[i] for one in skin) / len(skin) for i in (1, 2))
        middle = len(lights) // 2
        median = lights[middle] if len(lights) % 2 else (lights[middle - 1] + lights[middle]) / 2
        assert light == pytest.approx(median, abs=0.01)
        assert angle == pytest.approx(math.degrees(math.atan2(b, a)), abs=0.05)
    assert len(set(lightness.values.round(1))) > 1


def test_grey_skin_has_no_hue() -> None:
    light, hue = skin_colour(np.full((9, 3), 119, np.uint8))
    assert light == pytest.approx(50.03, abs=0.01)
    assert math.isnan(hue)
    assert np.isnan(skin_colour(np.zeros((0, 3), np.uint8))).all()


def test_lightness_and_hue_are_crossed_at_60_and_at_55_degrees() -> None:
    nothing = math.nan
    lightness = np.array([60, 60, 59.9, 59.9, nothing, 70.0])
    hue = np.array([54.9, 55, 54.9, 55, 40, nothing])
    colour = measured_groupings(lightness, hue, np.full(6, nothing))[2]
    assert colour.name == "skin_colour"
    assert colour.cells(6) == ["light-red", "light-yellow", "dark-red", "dark-yellow", None, None]


def test_without_skin_there_is_no_colour(own_faces: Path) -> None:
    first, second, *_ = DatasetFolder(own_faces).samples("train")
    first.label.write_bytes(encode_png(np.where(read_label(first.label) == 1, 0, read_label(first.label))))
    cells = {one.name: one.cells(2) for one in photograph_groupings([first, second], HELEN)}
    for name in ("skin_lightness", "skin_hue", "skin_colour"):
        assert [cell is None for cell in cells[name]] == [True, False]
    assert photograph_groupings([first, second], WITHOUT) == ()
    second.image.write_bytes(b"broken")
    with pytest.raises(DatasetError):
        photograph_groupings([first, second], HELEN)


def drawn(yaw: float, roll: float, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Label of a face that is turned."""
    face = dataclasses.replace(drawn_face.sample_parameters(np.random.default_rng(3)), yaw=yaw, roll=roll)
    monkeypatch.setattr(drawn_face, "sample_parameters", lambda _: face)
    label = drawn_face.draw_face(np.random.default_rng(3), 192).label
    monkeypatch.undo()
    return label


@pytest.mark.parametrize("roll", [-0.3, 0.0, 0.3])
def test_the_noses_offset_tells_the_turn_of_drawn_faces(roll: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HELEN.names == tuple(CLASSES)
    yaws = np.radians([-30, -20, -8, 0, 8, 20, 30])
    found = [nose_offset(drawn(float(yaw), roll, monkeypatch), HELEN) for yaw in yaws]
    assert found == pytest.approx(0.377 * np.tan(yaws), abs=0.03)
    nothing = np.full(7, np.nan)
    (grouping,) = measured_groupings(nothing, nothing, np.array(found))
    assert [(group.name, group.images.tolist()) for group in grouping.groups] == [
        ("turned left", [0, 1]), ("frontal", [2, 3, 4]), ("turned right", [5, 6])
    ]  # fmt: skip
    assert [group.low for group in grouping.groups] == [None, -TURNED, TURNED]


def test_a_face_without_an_eye_or_a_nose_has_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    label = drawn(0, 0, monkeypatch)
    for name in ("left_eye", "nose"):
        assert math.isnan(nose_offset(np.where(label == HELEN.names.index(name), 0, label).astype(np.uint8), HELEN))
    assert math.isnan(nose_offset(label, WITHOUT))


def test_a_faces_share_is_of_skin_eyes_nose_and_mouth() -> None:
    label = np.zeros((40, 60), np.uint8)
    label[:10], label[10:20, :30] = HELEN.names.index("hair"), HELEN.names.index("skin")
    label[12, :9], label[13, :9] = HELEN.names.index("left_eye"), HELEN.names.index("left_brow")
    label[30:] = 255
    counts = stacked([count_image(label, np.zeros_like(label), 11), count_image(label * 0, label * 0, 11)])
    share, nothing = face_shares(counts, HELEN)
    face = sum(HELEN.names[i] in ("skin", "left_eye") for i in label[:30].ravel())
    assert share == pytest.approx((face / (30 * 60)) ** 0.5)
    assert np.isnan(nothing)
    assert np.isnan(face_shares(Counts(counts.confusion[:, :2, :2], counts.boundary), WITHOUT)).all()


def test_faces_are_grouped_by_their_side() -> None:
    confusion = np.zeros((6, 3, 3), int)
    confusion[:, 0, 0] = 10**6  # background does not count
    confusion[:, 1, 2] = [0, 63**2, 64**2, 100**2, 511**2, 600**2]
    counts = Counts(confusion, np.zeros((6, 3, 3, 2, 2), int))
    assert face_sides(counts).tolist() == [0, 63, 64, 100, 511, 600]
    (sides,) = face_groupings(counts, WITHOUT)
    assert [(group.name, group.images.tolist(), group.low, group.high) for group in sides.groups] == [
        ("below 64", [0, 1], None, 64), ("64 to 128", [2, 3], 64, 128), ("256 to 512", [4], 256, 512),
        ("512 and more", [5], 512, None),
    ]  # fmt: skip
