"""iBugMask: two folders, 11 or 14 classes, landmarks beside the images."""

from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.ibugmask import IBugMask
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from tests.raw import face, make_ibugmask

ELEVEN, FOURTEEN = get_label_set("ibugmask"), get_label_set("ibugmask-14")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_ibugmask(tmp_path / "raw")


def test_test_is_official_and_val_a_share_of_train(raw: Path) -> None:
    items = IBugMask(raw, label_set=ELEVEN, val=0.4).items()
    splits = {split: {item.id for item in items if item.split == split} for split in ("train", "val", "test")}
    assert splits["test"] == {"test_6", "test_7"}
    assert (len(splits["train"]), len(splits["val"])) == (3, 2)
    again = IBugMask(raw, label_set=ELEVEN, val=0.4, seed=1).items()
    assert {item.id for item in again if item.split == "test"} == splits["test"]
    assert {item.id for item in again} == {item.id for item in items}


def test_labels_and_points_are_those_beside_the_image(raw: Path, tmp_path: Path) -> None:
    source = IBugMask(raw, label_set=ELEVEN)
    prepare(source, tmp_path / "out")
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "test_6.png"), face(6).label)
    found = source.points(next(item for item in source.items() if item.id == "test_6"))
    assert found is not None
    assert np.allclose(found, face(6).points, atol=1e-3)


def test_ears_and_glasses_need_the_set_of_14(raw: Path, tmp_path: Path) -> None:
    label = face(6).label.copy()
    label[:9, :9] = 13
    (raw / "ibugmask_release" / "test" / "6.png").write_bytes(encode_png(label))
    with pytest.raises(DatasetError, match=r"6\.png: value 13 is not one of the 11 classes"):
        prepare(IBugMask(raw, label_set=ELEVEN), tmp_path / "out")
    prepare(IBugMask(raw, label_set=FOURTEEN), tmp_path / "out14")
    assert FOURTEEN.names[13] == "glasses"


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    make_ibugmask(tmp_path, test=0)
    (tmp_path / "ibugmask_release" / "test").mkdir()
    with pytest.raises(DatasetError, match=r"test: no \.jpg in it$"):
        IBugMask(tmp_path, label_set=ELEVEN).items()
