"""What all sources share: names, colours to ids, and finding the dataset inside what was downloaded."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.source import Item, find_root, nearest_colour
from faceparse.core.errors import DatasetError
from faceparse.core.labels.label_set import get_label_set

RANDOM = np.random.default_rng(0)


# Names.


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "a//b", "a/.", "..", "", "a b", "a\nb", "a\tb", "a\0b", "C:x", "a\\..\\x", "a\x1b"],
)
def test_a_name_that_is_no_file_inside_the_dataset_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match=r"cannot be the name of a dataset's files .*; rename it$") as caught:
        Item(name, "train", (Path("raw/list.txt"),))
    assert str(caught.value).startswith(f"raw/list.txt: {name!r} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["100_1", "a/b", "J. -_ü1(2)".replace(" ", ""), "..a", ".a", "日本"])
def test_other_names_are_taken(name: str) -> None:
    assert Item(name, "train").id == name


# Colours.


def nearest_by_loop(picture: np.ndarray, palette: np.ndarray) -> list[list[int]]:
    def distance(one: Iterable[int], other: Iterable[int]) -> int:
        return sum((int(a) - int(b)) ** 2 for a, b in zip(one, other, strict=True))

    return [
        [min(range(len(palette)), key=lambda i: distance(pixel, palette[i])) for pixel in row] for row in picture
    ]  # min takes the first of equals, so the lower id


@pytest.mark.parametrize("name", ["fasseg", "helen"])
def test_each_pixel_takes_the_nearest_colour(name: str) -> None:
    palette = get_label_set(name).palette()
    picture = RANDOM.integers(0, 256, (25, 31, 3), dtype=np.uint8)
    ids = nearest_colour(picture, palette)
    assert ids.dtype == np.uint8
    assert ids.tolist() == nearest_by_loop(picture, palette)


def test_between_two_colours_the_lower_id_wins() -> None:
    palette = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], np.uint8)
    picture = np.array([[[100, 0, 0], [101, 0, 0], [0, 100, 0], [100, 100, 0]]], np.uint8)
    assert nearest_colour(picture, palette).tolist() == [[0, 1, 0, 0]]


def test_palette_colours_are_their_own_ids() -> None:
    palette = get_label_set("celebamask-hq").palette()
    assert nearest_colour(palette[None], palette).tolist() == [list(range(19))]


# Roots.


@pytest.mark.parametrize("wrapping", ["", "LaPa", "download/LaPa"])
def test_a_dataset_is_found_inside_the_folders_of_its_archive(tmp_path: Path, wrapping: str) -> None:
    root = tmp_path / wrapping
    for name in ("train/images", "test/images"):
        (root / name).mkdir(parents=True)
    (tmp_path / "another" / "train").mkdir(parents=True)
    assert find_root(tmp_path, "train/images", "test/images") == root


def test_a_folder_without_the_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one" / "two" / "three" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r": no images and labels in it; give the folder as it was unpacked$"):
        find_root(tmp_path, "images", "labels")
    with pytest.raises(DatasetError, match=r"nowhere: no such folder$"):
        find_root(tmp_path / "nowhere", "images")
