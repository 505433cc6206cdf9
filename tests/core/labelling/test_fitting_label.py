from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.errors import DatasetError
from faceparse.core.images.read_label import read_label
from faceparse.core.labelling.fitting_label import encode_label, must_fit, read_fitting_label
from faceparse.core.labels.label_set import get_label_set


@pytest.mark.parametrize("name", ["helen", "celebamask-hq"])
def test_all_ids_and_255_come_back(tmp_path: Path, name: str) -> None:
    """Of a set with few classes, too, whose palette alone would be written with fewer bits."""
    label_set = get_label_set(name)
    label = np.resize(np.array([*range(len(label_set)), 255], np.uint8), (7, 9))
    (tmp_path / "a.png").write_bytes(encode_label(label, label_set))
    assert np.array_equal(read_label(tmp_path / "a.png"), label)
    with Image.open(tmp_path / "a.png") as picture:
        colours = np.asarray(picture.convert("RGB"))
    assert np.array_equal(colours[label < 255], label_set.palette()[label[label < 255]])


def test_a_label_of_something_else_is_refused(tmp_path: Path) -> None:
    helen = get_label_set("helen")
    with pytest.raises(DatasetError, match=r"^a\.png: is 3 x 2, its photograph 2 x 3; move it elsewhere$"):
        must_fit(np.zeros((2, 3), np.uint8), "a.png", (3, 2), helen)
    label = np.array([[0, 255, 12]], np.uint8)
    with pytest.raises(DatasetError, match=r"value 12 is not one of the 11 classes of helen \(0 to 10, 255 ignored\)"):
        must_fit(label, "a.png", (1, 3), helen)
    (tmp_path / "a.png").write_bytes(encode_label(label, get_label_set("celebamask-hq")))
    with pytest.raises(DatasetError, match=r"a\.png: value 12 is not one of the 11 classes"):
        read_fitting_label(tmp_path / "a.png", (1, 3), helen)
    must_fit(np.array([[0, 255, 10]], np.uint8), "a.png", (1, 3), helen)
