"""LaPa: folders are splits, landmarks are 106 points."""

from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.layout import DatasetFolder, folder_label_set
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import make_alignment
from faceparse.core.images.read_label import read_label
from tests.raw import face, make_lapa

LANDMARKS = make_alignment("landmarks", size=96, template="farl", on_missing="identity")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_lapa(tmp_path / "raw")


def test_folders_are_the_splits(raw: Path, tmp_path: Path) -> None:
    assert prepare(Lapa(raw), tmp_path / "out").splits == {"train": 4, "val": 2, "test": 2}
    samples = DatasetFolder(tmp_path / "out").samples("test")
    assert [sample.id for sample in samples] == ["7_0", "8_0"]
    for number, sample in zip((7, 8), samples, strict=True):
        assert np.array_equal(read_label(sample.label), face(number).label)
        assert sample.image.read_bytes() == (raw / "test" / "images" / f"{number}_0.jpg").read_bytes()
    label_set = folder_label_set(tmp_path / "out")
    assert label_set is not None
    assert label_set.name == "lapa"


def test_the_five_points_are_where_they_were_drawn(raw: Path) -> None:
    source = Lapa(raw)
    item = next(item for item in source.items() if item.id == "3_0")
    found = source.points(item)
    assert found is not None
    assert np.allclose(found, face(3).points, atol=1e-5)


def test_a_bad_landmark_file_is_told_where_landmarks_are_used(raw: Path, tmp_path: Path) -> None:
    file = raw / "train" / "landmarks" / "2_0.txt"
    file.write_text("106\n" + "1 2\n" * 105)
    prepare(Lapa(raw), tmp_path / "unaligned")
    with pytest.raises(DatasetError) as caught:
        prepare(Lapa(raw), tmp_path / "out", alignment=LANDMARKS)
    expected = f"1 of 8 could not be prepared: {file}: has 105 points, not 106; download it again"
    assert str(caught.value) == expected


def test_a_face_without_landmarks_stays_as_it_is(raw: Path, tmp_path: Path) -> None:
    (raw / "test" / "landmarks" / "8_0.txt").unlink()
    report = prepare(Lapa(raw), tmp_path / "out", alignment=LANDMARKS)
    assert [(one.id, one.reason) for one in report.without_points] == [("8_0", "no landmarks")]
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "8_0.png"), face(8).label)


def test_a_missing_label_and_a_broken_image_are_told_together(raw: Path, tmp_path: Path) -> None:
    (raw / "train" / "labels" / "1_0.png").unlink()
    image = raw / "val" / "images" / "5_0.jpg"
    image.write_bytes(image.read_bytes()[:500])
    with pytest.raises(DatasetError) as caught:
        prepare(Lapa(raw), tmp_path / "out", processes=2)
    message = str(caught.value)
    assert message.startswith("2 of 8 could not be prepared: cannot read ")
    assert f"{image}: truncated JPEG; replace the file" in message


def test_two_splits_with_one_photograph_are_refused(raw: Path, tmp_path: Path) -> None:
    twin = raw / "test" / "images" / "1_0.jpg"
    twin.write_bytes((raw / "train" / "images" / "1_0.jpg").read_bytes())
    with pytest.raises(DatasetError, match="two photographs would both be named '1_0'; rename one"):
        prepare(Lapa(raw), tmp_path / "out")


def test_another_folder_is_no_lapa(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no train/images and val/images and test/images in it"):
        Lapa(tmp_path).items()


def test_suffixes_in_any_case_are_photographs(tmp_path: Path) -> None:
    raw = make_lapa(tmp_path / "raw")
    (raw / "train" / "images" / "1_0.jpg").rename(raw / "train" / "images" / "1_0.JPG")
    (raw / "train" / "images" / "2_0.jpg").rename(raw / "train" / "images" / "2_0.jpeg")
    assert len(Lapa(raw).items()) == 8
