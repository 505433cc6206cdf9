"""Each kind of thing that can be wrong with one sample's files is reported."""

import os
from pathlib import Path

import numpy as np

from faceparse.core.datasets.edges import update_edges
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import get_label_set
from tests.core.checking.damage import first, problems, truncate


def test_a_truncated_photograph(own_faces: Path) -> None:
    path = first(own_faces).image
    truncate(path)
    (problem,) = problems(own_faces)
    assert problem.startswith(f"{path}: broken image (")
    assert problem.endswith("); replace the file")


def test_a_photograph_cut_so_late_that_only_the_end_marker_is_missing(own_faces: Path) -> None:
    path = first(own_faces).image
    path.write_bytes(path.read_bytes()[:-2])
    (problem,) = problems(own_faces)
    assert problem.startswith(f"{path}: ")
    assert problem.endswith("replace the file")


def test_a_photograph_that_is_none(own_faces: Path) -> None:
    path = first(own_faces).image
    path.write_bytes(b"<html>not found</html>")
    (problem,) = problems(own_faces)
    assert problem.startswith(f"{path}: broken image (")


def test_a_truncated_label(own_faces: Path) -> None:
    path = first(own_faces).label
    truncate(path)
    assert problems(own_faces) == [f"{path}: truncated or damaged PNG; replace the file"]


def test_a_label_in_colour(own_faces: Path) -> None:
    path = first(own_faces).label
    path.write_bytes(encode_png(np.zeros((72, 72, 3), np.uint8)))
    assert problems(own_faces) == [
        f"{path}: a RGB picture, not single-channel class ids; convert it with 'faceparse prepare folder'"
    ]


def test_a_photograph_of_another_size_than_its_label(own_faces: Path) -> None:
    sample = first(own_faces)
    sample.image.write_bytes(encode_jpeg(np.zeros((60, 80, 3), np.uint8)))
    assert problems(own_faces) == [f"{sample.label}: 72 x 72, its image is 80 x 60"]


def test_a_value_that_is_no_class_with_its_pixels(own_faces: Path) -> None:
    path = first(own_faces).label
    label = read_label(path)
    label[3, 4:9] = 37
    label[5, 0:2] = 11
    label[6, 0:3] = 255  # ignored, so fine
    path.write_bytes(encode_png(label))
    update_edges(own_faces)
    assert problems(own_faces) == [
        f"{path}: value 11 on 2 pixels is not one of the 11 classes (0 to 10, 255 ignored)",
        f"{path}: value 37 on 5 pixels is not one of the 11 classes (0 to 10, 255 ignored)",
    ]


def test_a_palette_label(own_faces: Path) -> None:
    path = first(own_faces).label
    write_palette_png(path, read_label(path), get_label_set("helen").palette())
    update_edges(own_faces)
    (problem,) = problems(own_faces)
    assert problem.startswith(f"{path}: palette PNG; ")


def test_the_date_of_an_edge_map_says_nothing(own_faces: Path) -> None:
    sample = first(own_faces)
    os.utime(sample.edge, ns=(0, 0))
    assert problems(own_faces) == []


def test_a_damaged_edge_map(own_faces: Path) -> None:
    path = first(own_faces).edge
    truncate(path)
    assert problems(own_faces) == [f"{path}: truncated or damaged PNG; replace the file"]


def test_an_aligned_photograph_without_its_original_label(own_faces: Path) -> None:
    sample = first(own_faces, "test")
    sample.project.parent.mkdir()
    np.save(sample.project, np.eye(2, 3))
    assert problems(own_faces) == [f"cannot read {sample.label_raw}: No such file or directory"]
    sample.label_raw.parent.mkdir()
    sample.label_raw.write_bytes(encode_png(np.full((50, 40), 37, np.uint8)))
    assert problems(own_faces) == [
        f"{sample.label_raw}: value 37 on 2000 pixels is not one of the 11 classes (0 to 10, 255 ignored)"
    ]
    sample.label_raw.write_bytes(encode_png(np.full((50, 40), 255, np.uint8)))
    assert problems(own_faces) == []
