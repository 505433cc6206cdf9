"""What all sources share: splitting, colours to ids, and finding the dataset inside what was downloaded."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.source import Item, find_root, nearest_colour, split_by_share
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


# Splits.


@pytest.mark.parametrize(
    ("count", "val", "test", "expected"),
    [
        (10, 0.1, 0.2, (7, 1, 2)),
        (100, 0.25, 0.25, (50, 25, 25)),
        (3, 0.01, 0.01, (1, 1, 1)),
        (5, 0.0, 0.2, (4, 0, 1)),
        (5, 0.2, 0.0, (4, 1, 0)),
        (7, 0.0, 0.0, (7, 0, 0)),
    ],
)
def test_shares_become_counts_and_no_share_is_empty(
    count: int, val: float, test: float, expected: tuple[int, int, int]
) -> None:
    names = [f"n{i}" for i in range(count)]
    split = split_by_share(names, val=val, test=test, seed=0)
    assert set(split) == set(names)
    assert tuple(list(split.values()).count(name) for name in SPLITS) == expected


def test_a_split_depends_on_names_and_seed_alone() -> None:
    names = [f"n{i}" for i in range(40)]
    split = split_by_share(names, val=0.2, test=0.2, seed=5)
    assert split_by_share(reversed(names), val=0.2, test=0.2, seed=5) == split
    assert split_by_share(names, val=0.2, test=0.2, seed=6) != split


@pytest.mark.parametrize(("count", "val", "test"), [(2, 0.1, 0.1), (10, 0.5, 0.5), (1, 0.1, 0.0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(count: int, val: float, test: float) -> None:
    with pytest.raises(DatasetError) as caught:
        split_by_share([str(i) for i in range(count)], val=val, test=test, seed=0)
    assert str(caught.value) == (
        f"{count} photographs leave none to train on with val share {val} and test share {test}"
    )


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
