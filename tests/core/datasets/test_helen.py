"""Helen in Smith's layout, with and without the points that others added."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from faceparse.core.datasets.helen import Helen
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import make_alignment, similarity
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import invert
from tests.raw import face, make_helen

AUTO = make_alignment("auto", size=96, template="farl", on_missing="fail")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_helen(tmp_path / "raw")


def test_the_lists_are_the_splits(raw: Path) -> None:
    splits = {
        split: [item.id for item in Helen(raw).items() if item.split == split] for split in ("train", "val", "test")
    }
    assert splits == {
        "train": ["1001_1", "1002_1", "1003_1", "1004_1"],
        "val": ["1005_1", "1006_1"],
        "test": ["1007_1", "1008_1"],
    }


def test_labels_are_the_largest_of_eleven_maps(raw: Path) -> None:
    source = Helen(raw)
    item = source.items()[0]
    loaded = source.load(item)
    assert loaded.label.shape == (11, 96, 80)
    maps = [cv2.imread(str(raw / "labels" / "1001_1" / f"1001_1_lbl{i:02d}.png"), 0) for i in range(11)]
    assert np.array_equal(loaded.label, np.stack(maps))  # type: ignore[arg-type]
    assert loaded.jpeg == (raw / "images" / "1001_1.jpg").read_bytes()


def test_unaligned_photographs_stay_as_they_are(raw: Path, tmp_path: Path) -> None:
    prepare(Helen(raw), tmp_path / "out")
    (sample, *_) = DatasetFolder(tmp_path / "out").samples("test")
    assert sample.image.read_bytes() == (raw / "images" / "1007_1.jpg").read_bytes()
    agree = read_label(sample.label) == face(7).label
    assert agree.mean() > 0.97  # maps are soft at the borders
    assert not sample.project.exists()


def test_soft_maps_are_warped_before_argmax(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(Helen(raw), out, alignment=AUTO)
    soft = Helen(raw).load(Helen(raw).items()[-1]).label
    matrix = cv2.invertAffineTransform(np.load(out / "project" / "1008_1.npy"))
    warped = [cv2.warpAffine(one, matrix, (96, 96), flags=cv2.INTER_LINEAR) for one in soft]
    assert np.array_equal(read_label(out / "labels" / "1008_1.png"), np.argmax(warped, axis=0))
    assert np.array_equal(read_label(out / "labels_raw" / "1008_1.png"), soft.argmax(axis=0))


def test_points_are_found_by_the_id_in_their_first_line(raw: Path) -> None:
    source = Helen(raw)
    assert source.has_landmarks
    (raw / "points" / "3.txt").rename(raw / "points" / "77.txt")
    item = source.items()[2]
    found = source.points(item)
    assert found is not None
    assert np.allclose(found, face(3).points, atol=1e-5)


def test_the_points_of_the_files_align(raw: Path, tmp_path: Path) -> None:
    prepare(Helen(raw), tmp_path / "out", alignment=AUTO)
    assert read_image(tmp_path / "out" / "images" / "1001_1.jpg").shape == (96, 96, 3)
    expected = invert(similarity(face(1).points, np.array(AUTO.template)))
    assert np.allclose(np.load(tmp_path / "out" / "project" / "1001_1.npy"), expected, atol=1e-4)


def test_without_points_the_labels_align(tmp_path: Path) -> None:
    source = Helen(make_helen(tmp_path / "raw", points=False))
    assert not source.has_landmarks
    report = prepare(source, tmp_path / "out", alignment=AUTO)
    assert report.without_points == ()
    assert len(list((tmp_path / "out" / "project").iterdir())) == 8


def test_a_photograph_without_points_among_others_with(raw: Path, tmp_path: Path) -> None:
    (raw / "points" / "2.txt").unlink()
    with pytest.raises(DatasetError, match="1002_1: cannot be aligned, no landmarks; see --on-missing"):
        prepare(Helen(raw), tmp_path / "out", alignment=AUTO)


def test_missing_soft_maps_are_told(raw: Path, tmp_path: Path) -> None:
    for i in (4, 7):
        (raw / "labels" / "1002_1" / f"1002_1_lbl{i:02d}.png").unlink()
    with pytest.raises(DatasetError) as caught:
        prepare(Helen(raw), tmp_path / "out")
    file = raw / "labels" / "1002_1" / "1002_1_lbl04.png"
    expected = f"1 of 8 could not be prepared: {file}: soft map missing (2 of 11); unpack the labels again"
    assert str(caught.value) == expected


def test_a_soft_map_of_another_size_is_told(raw: Path, tmp_path: Path) -> None:
    file = raw / "labels" / "1002_1" / "1002_1_lbl05.png"
    file.write_bytes(encode_png(np.zeros((5, 5), np.uint8)))
    with pytest.raises(DatasetError, match=r"1002_1_lbl05\.png: of another size than 1002_1_lbl00\.png; unpack"):
        prepare(Helen(raw), tmp_path / "out")


def test_nothing_is_written_where_a_list_points_outside(raw: Path, tmp_path: Path) -> None:
    """The files that such an id would read are there."""
    for folder in ("images", "labels"):
        for path in sorted((raw / folder).glob("1001_1*")):
            target = raw / path.name
            path.rename(target)
    (raw / "labels" / "deep").mkdir()
    list_file = raw / "exemplars.txt"
    list_file.write_text(list_file.read_text().replace("1001_1", "../1001_1"))
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=r"'\.\./1001_1' cannot be the name of a dataset's files"):
        prepare(Helen(raw), tmp_path / "a" / "out")
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_list_line_without_number_is_told(raw: Path) -> None:
    (raw / "tuning.txt").write_text("12 , 1005_1\n\n1006_1\n")
    with pytest.raises(DatasetError, match=r"tuning\.txt:3: '1006_1' is not '<number> , <id>'; fix the line$"):
        Helen(raw).items()


def test_a_folder_among_the_points_is_one_line(tmp_path: Path) -> None:
    raw = make_helen(tmp_path / "raw")
    (raw / "points" / "x.txt").mkdir()
    with pytest.raises(DatasetError, match=r"^cannot read .*x\.txt: Is a directory$"):
        Helen(raw).items()
