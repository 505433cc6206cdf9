import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from faceparse.core.errors import OutputError
from faceparse.core.faces.crops import PictureLabels
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.prediction.coco import annotations, coco_file

HELEN = get_label_set("helen")


def parsed() -> PictureLabels:
    """Two faces of blocks, with holes and specks."""
    random = np.random.default_rng(0)
    label = random.integers(0, 4, (8, 10)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    label[9, 9] = 10
    owner = np.where(np.arange(40) < 20, 1, 2).astype(np.uint16) * (label != 0)
    return PictureLabels(label, owner.astype(np.uint16))


def drawn(segmentation: list[list[int]], shape: tuple[int, int]) -> np.ndarray:
    """Filled by Pillow four times as large; what it draws of the outline itself is a quarter pixel."""
    picture = Image.new("1", (shape[1] * 4, shape[0] * 4))
    for ring in segmentation:
        ImageDraw.Draw(picture).polygon([4 * value for value in ring], fill=1)
    return np.array(picture)[2::4, 2::4]


def test_each_class_of_each_face_is_drawn_again_from_its_polygons() -> None:
    both = parsed()
    found = annotations(both)
    expected = {(int(o) - 1, int(c)) for o, c in zip(both.owner.flat, both.label.flat, strict=True) if c}
    assert {(one["face"], one["category_id"]) for one in found} == expected
    assert len(found) == len(expected)
    for one in found:
        mask = (both.label == one["category_id"]) & (both.owner == one["face"] + 1)
        assert one["area"] == mask.sum()
        rows, columns = np.nonzero(mask)
        x, y, width, height = one["bbox"]
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.array_equal(drawn(one["segmentation"], mask.shape), mask)


def test_the_file_has_what_coco_asks_for() -> None:
    both = parsed()
    with coco_file(Path("coco.json"), HELEN) as coco:
        coco.add("a.jpg", 32, 40, annotations(both))
        coco.add('b "2".jpg', 5, 6, [])
        coco.add("c.jpg", 32, 40, annotations(both)[:1])
        assert not Path("coco.json").exists()
    content = json.loads(Path("coco.json").read_text())
    assert [one["name"] for one in content["categories"]] == list(HELEN.names[1:])
    assert [one["id"] for one in content["categories"]] == list(range(1, 11))
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 32, "width": 40},
        {"id": 2, "file_name": 'b "2".jpg', "height": 5, "width": 6},
        {"id": 3, "file_name": "c.jpg", "height": 32, "width": 40},
    ]
    count = len(annotations(both))
    assert [one["id"] for one in content["annotations"]] == list(range(1, count + 2))
    assert [one["image_id"] for one in content["annotations"]] == [1] * count + [3]


def test_a_run_that_stops_leaves_no_file() -> None:
    with pytest.raises(KeyboardInterrupt), coco_file(Path("coco.json"), HELEN):
        raise KeyboardInterrupt
    with (
        pytest.raises(OutputError, match="^cannot write /proc/x/coco.json: "),
        coco_file(Path("/proc/x/coco.json"), HELEN),
    ):
        pass
    assert list(Path().iterdir()) == []
