"""One photograph: its bytes, its ids, and its way to the template."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.source import Raw
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import harden
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from tests.core.datasets.given import ALIGNMENT, RANDOM, SIZE, Given, Turned, lists, pair, turned_template


def test_colours_are_not_swapped_on_the_way(tmp_path: Path) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 200
    prepare(Given({"a": Raw(image, np.zeros(SIZE, np.uint8))}), tmp_path / "out")
    red, green, blue = read_image(tmp_path / "out" / "images" / "a.jpg").reshape(-1, 3).mean(axis=0)
    assert red > 190
    assert max(green, blue) < 10


def test_bytes_of_a_jpeg_are_kept(tmp_path: Path) -> None:
    image = RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    data = encode_jpeg(image, quality=70)
    prepare(Given({"a": Raw(image, np.zeros(SIZE, np.uint8), data)}), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "a.jpg").read_bytes() == data


def test_ignored_pixels_are_kept(tmp_path: Path) -> None:
    label = np.full(SIZE, 255, np.uint8)
    prepare(Given({"a": pair(label)}), tmp_path / "out")
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "a.png"), label)


def test_soft_maps_become_ids_ties_to_the_lower_one(tmp_path: Path) -> None:
    soft = np.zeros((11, *SIZE), np.uint8)
    soft[3, :, :10], soft[5, :, 5:20], soft[7, :, 5:20] = 200, 210, 210
    prepare(Given({"a": Raw(np.zeros((*SIZE, 3), np.uint8), soft)}), tmp_path / "out")
    expected = np.zeros(SIZE, np.uint8)
    expected[:, :5], expected[:, 5:20] = 3, 5
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "a.png"), expected)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("angle", "scale"), [(0, 1.0), (23, 1.4), (-71, 0.9), (160, 1.1)])
def test_a_turned_face_comes_back_to_the_template(tmp_path: Path, angle: float, scale: float, soft: bool) -> None:
    points, matrix = turned_template(angle, scale)
    source = Turned(points, soft=soft)
    prepare(source, tmp_path / "out", alignment=ALIGNMENT)
    out = tmp_path / "out"
    image, label = read_image(out / "images" / "a.jpg"), read_label(out / "labels" / "a.png")
    assert image.shape == (128, 128, 3)
    for i, (x, y) in enumerate(ALIGNMENT.template):
        spot = image[round(y) - 5 : round(y) + 6, round(x) - 5 : round(x) + 6, 0].astype(float)
        spot[spot < 40] = 0
        v, u = np.mgrid[-5:6, -5:6]
        found = (round(x) + (u * spot).sum() / spot.sum(), round(y) + (v * spot).sum() / spot.sum())
        assert math.dist(found, (x, y)) < 0.5
        rows, columns = np.nonzero(label == i + 1)
        assert math.dist((columns.mean(), rows.mean()), (x, y)) < 0.5
    project = np.load(out / "project" / "a.npy")
    assert project.dtype == np.float64
    assert np.allclose(project, matrix, atol=1e-9)
    raw_label = read_label(out / "labels_raw" / "a.png")
    assert np.array_equal(raw_label, harden(source.pairs["a"].label))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (None, "no landmarks"),
        (np.full((5, 2), np.nan), "a point is missing"),
        (np.array([(20, 20), (60, 20), (40, 40), (28, 60), (300, 60)]), "a point lies outside the image"),
        (np.full((5, 2), 30.0), "the points lie on one spot or on one line"),
        (np.array([(10 * i, 20.0) for i in range(5)]), "the points lie on one spot or on one line"),
        (np.array([(60, 20), (20, 20), (40, 40), (28, 60), (52, 60)]), "the points do not lie like those of a face"),
    ],
)
def test_a_face_without_usable_points_is_handled_by_rule(
    tmp_path: Path, points: np.ndarray | None, reason: str
) -> None:
    good, _ = turned_template(10, 1)
    source = Turned(good)
    source.pairs = {"a": source.pairs["a"], "b": Raw(np.zeros((80, 90, 3), np.uint8), np.zeros((80, 90), np.uint8))}
    source.splits = {"a": "train", "b": "train"}
    source.points = lambda item: good if item.id == "a" else points  # type: ignore

    left = prepare(source, tmp_path / "identity", alignment=ALIGNMENT)
    assert [(o.id, o.status, o.reason) for o in left.without_points] == [("b", "unaligned", reason)]
    assert left.splits == {"train": 2}
    assert read_label(tmp_path / "identity" / "labels" / "b.png").shape == (80, 90)
    assert not (tmp_path / "identity" / "project" / "b.npy").exists()

    skipped = prepare(source, tmp_path / "skip", alignment=replace(ALIGNMENT, on_missing="skip"))
    assert [(o.id, o.status) for o in skipped.without_points] == [("b", "skipped")]
    assert skipped.splits == {"train": 1}
    assert not (tmp_path / "skip" / "images" / "b.jpg").exists()
    assert prepare(source, tmp_path / "skip", alignment=replace(ALIGNMENT, on_missing="skip")).done == 0

    with pytest.raises(DatasetError, match=f"^1 of 2 could not be prepared: b: cannot be aligned, {reason}; see --on"):
        prepare(source, tmp_path / "fail", alignment=replace(ALIGNMENT, on_missing="fail"))
    assert lists(tmp_path / "fail") == []
