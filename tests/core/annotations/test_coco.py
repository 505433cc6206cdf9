import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image, ImageDraw

from faceparse.core.annotations.annotation_files import read_annotations
from faceparse.core.annotations.coco import CocoFile, decode_counts, encode_counts
from faceparse.core.annotations.runs_shape import class_lengths, lengths_of
from faceparse.core.errors import OutputError
from tests.core.annotations.labels import HELEN, problem, redrawn, two_faces


def drawn(segmentation: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """Filled by Pillow four times as large; what it draws of the outline itself is a quarter pixel."""
    picture = Image.new("1", (shape[1] * 4, shape[0] * 4))
    for ring in segmentation:
        ImageDraw.Draw(picture).polygon([4 * value for value in ring], fill=1)
    return np.array(picture)[2::4, 2::4]


def write(photographs: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    with CocoFile.open(Path(), HELEN) as coco:
        for name, (label, owner) in photographs.items():
            coco.add(name, (label.shape[0], label.shape[1]), coco.describe(label, owner))
        assert not Path("coco.json").exists()
    return Path("coco.json")


def place(annotations: list[dict[str, Any]], others: dict[str, Any] | None = None) -> Path:
    path = Path("instances.json")
    image = {"id": 7, "file_name": "photos\\a.jpg", "height": 32, "width": 40}
    content = {
        "images": [image],
        "annotations": [{"image_id": 7, "category_id": 2} | one for one in annotations],
        "categories": [{"id": i, "name": name, "supercategory": "face"} for i, name in enumerate(HELEN.names)],
    }
    path.write_text(json.dumps(content | (others or {})))
    return path


def test_each_class_of_each_face_is_drawn_again_from_its_polygons() -> None:
    label, owner = two_faces()
    found = json.loads(write({"a.jpg": (label, owner)}).read_text())["annotations"]
    expected = {(int(o) - 1, int(c)) for o, c in zip(owner.flat, label.flat, strict=True) if c}
    assert {(one["face"], one["category_id"]) for one in found} == expected
    assert len(found) == len(expected)
    for one in found:
        mask = (label == one["category_id"]) & (owner == one["face"] + 1)
        assert one["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        x, y, width, height = one["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.array_equal(drawn(one["segmentation"], mask.shape), mask)


def test_the_file_has_what_coco_asks_for() -> None:
    both = two_faces()
    empty = (np.zeros((5, 6), np.uint8), np.zeros((5, 6), np.uint16))
    content = json.loads(write({"a.jpg": both, 'b "2".jpg': empty, "c.jpg": both}).read_text())
    assert [one["name"] for one in content["categories"]] == list(HELEN.names[1:])
    assert [one["id"] for one in content["categories"]] == list(range(1, 11))
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 32, "width": 40},
        {"id": 2, "file_name": 'b "2".jpg', "height": 5, "width": 6},
        {"id": 3, "file_name": "c.jpg", "height": 32, "width": 40},
    ]
    count = len(content["annotations"])
    assert [one["id"] for one in content["annotations"]] == list(range(1, count + 1))
    assert [one["image_id"] for one in content["annotations"]] == [1] * (count // 2) + [3] * (count // 2)


def test_a_run_that_stops_leaves_no_file() -> None:
    with pytest.raises(KeyboardInterrupt), CocoFile.open(Path(), HELEN):
        raise KeyboardInterrupt
    with (
        pytest.raises(OutputError, match="^cannot write /proc/x/coco.json: "),
        CocoFile.open(Path("/proc/x"), HELEN),
    ):
        pass
    assert list(Path().iterdir()) == []


def test_what_is_written_is_drawn_again() -> None:
    label, owner = two_faces()
    assert np.array_equal(redrawn(write({"a.jpg": (label, owner)})), label)


def test_counts_are_those_of_pycocotools() -> None:
    dice = np.random.default_rng(0)
    for size in ((1, 1), (7, 5), (90, 140), (300, 2000)):
        small = dice.integers(0, 5, (-(-size[0] // 9), -(-size[1] // 6)), dtype=np.uint8)
        label = small.repeat(9, 0).repeat(6, 1)[: size[0], : size[1]]
        lengths = class_lengths(label)
        assert set(lengths) == set(np.unique(label).tolist())
        for id_, found in lengths.items():
            expected = pycocotools.mask.encode(np.asfortranarray((label == id_).astype(np.uint8)))["counts"].decode()
            assert encode_counts(found) == expected
            assert decode_counts(expected).tolist() == found.tolist() == lengths_of(label == id_, by_columns=True)


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_of_pycocotools_are_drawn_again(compressed: bool) -> None:
    label, _ = two_faces()
    annotations = []
    for i in range(1, 11):
        mask = label == i
        runs = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        counts = runs["counts"].decode() if compressed else lengths_of(mask, by_columns=True)
        annotations.append({"category_id": i, "segmentation": {"size": [32, 40], "counts": counts}, "iscrowd": 1})
    path = place(annotations)
    assert np.array_equal(redrawn(path), label)
    assert read_annotations(path)[0].file_names == ("photos/a.jpg",)


def test_counts_are_decoded_as_they_were_encoded() -> None:
    random = np.random.default_rng(0)
    for share in (0.001, 0.3, 1):
        mask = random.random((300, 211)) < share
        counts = pycocotools.mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert decode_counts(counts).tolist() == lengths_of(mask, by_columns=True)


def test_later_annotations_lie_over_earlier_ones() -> None:
    square = [0, 0, 10, 0, 10, 10, 0, 10]
    one, other = {"segmentation": [square], "category_id": 1}, {"segmentation": [[v + 5 for v in square]]}
    assert redrawn(place([one, other]))[7, 7] == 2
    assert redrawn(place([other, one]))[7, 7] == 1


def runs(counts: object, *size: int) -> dict[str, Any]:
    return {"segmentation": {"size": list(size), "counts": counts}}


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({}, "has a box at most, no polygon or mask; draw one"),
        ({"segmentation": [[1, 2, 3, 4]]}, "2 points are no polygon; draw it again"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "an x without its y; draw it again"),
        ({"segmentation": [[1, 2, 900, 4, 5, 9]]}, "from (1, 2) to (900, 9), outside the picture of 40 x 32"),
        (runs([60], 6, 10), "a mask of 10 x 6, its picture is 40 x 32"),
        (runs([60], 32, 40), "its runs do not add up to 40 x 32 pixels; export it again"),
        (runs([2**80], 32, 40), "a run is longer than any picture; export it again"),
        (runs("", 32, 40), "its counts are no run lengths; export it again"),
        (runs("~~", 32, 40), "its counts are no run lengths; export it again"),
        (runs("é", 32, 40), "its counts are no run lengths; export it again"),
        (runs("o" * 30 + "0", 32, 40), "a run is longer than any picture; export it again"),
        (runs("P", 32, 40), "its counts are no run lengths; export it again"),
    ],
)
def test_segmentations_that_are_none_are_named(one: dict[str, Any], expected: str) -> None:
    assert problem(place([one])) == f"photos/a.jpg: annotations.0 (left_brow): {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"annotations": [{"image_id": 7, "category_id": 99}]},
            "annotations.0.category_id: 99 is not in its categories",
        ),
        ({"annotations": [{"image_id": 9, "category_id": 1}]}, "annotations.0.image_id: 9 is not in its images"),
        ({"images": [{"id": 7}]}, "'images.0.file_name' is missing; export it again"),
    ],
)
def test_other_content_is_named_by_its_key(content: dict[str, Any], expected: str) -> None:
    assert problem(place([], content)) == expected
