"""What all sources share: splitting, colours to ids, and writing the canonical layout whole."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.datasets.layout import SPLITS, DatasetFolder, folder_label_set
from faceparse.core.datasets.source import Item, Pair, PrepareReport, nearest_colour, prepare, split_by_share
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.files import encode_jpeg, read_image, read_label
from faceparse.core.labels import get_label_set

RANDOM = np.random.default_rng(0)
SIZE = (20, 30)


class Given:
    """A source that holds its photographs itself."""

    def __init__(self, pairs: Mapping[str, Pair | Exception], splits: dict[str, str] | None = None) -> None:
        self.label_set = get_label_set("helen")
        self.pairs = pairs
        self.splits = splits or dict.fromkeys(pairs, "train")

    def items(self) -> list[Item]:
        return [Item(id=name, split=self.splits[name]) for name in self.pairs]

    def load(self, item: Item) -> Pair:
        pair = self.pairs[item.id]
        if isinstance(pair, Exception):
            raise pair
        return pair

    def describe(self) -> dict[str, Any]:
        return {"source": "given", "names": sorted(self.pairs), "share": 0.1}


def pair(label: np.ndarray | None = None) -> Pair:
    image = RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return Pair(image, RANDOM.integers(0, 11, SIZE, dtype=np.uint8) if label is None else label, SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lists(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*_list.txt"))


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


# Writing.


def test_a_source_becomes_the_canonical_layout(tmp_path: Path) -> None:
    pairs = {name: pair() for name in ("d", "a", "c", "b")}
    source = Given(pairs, {"d": "train", "a": "test", "c": "train", "b": "val"})
    out = tmp_path / "new" / "out"
    assert prepare(source, out) == PrepareReport({"train": 2, "val": 1, "test": 1})
    assert (out / "train_list.txt").read_text() == "images/c.jpg labels/c.png\nimages/d.jpg labels/d.png\n"
    assert (out / "val_list.txt").read_text() == "images/b.jpg labels/b.png\n"
    assert folder_label_set(out) == source.label_set
    for split in SPLITS:
        for sample in DatasetFolder(out).samples(split):
            assert np.array_equal(read_label(sample.label), pairs[sample.id].label)
            assert read_image(sample.image).shape == (*SIZE, 3)


def test_colours_are_not_swapped_on_the_way(tmp_path: Path) -> None:
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 200
    prepare(Given({"a": Pair(image, np.zeros(SIZE, np.uint8), SIZE)}), tmp_path / "out")
    red, green, blue = read_image(tmp_path / "out" / "images" / "a.jpg").reshape(-1, 3).mean(axis=0)
    assert red > 190
    assert max(green, blue) < 10


def test_bytes_of_a_jpeg_are_kept(tmp_path: Path) -> None:
    data = encode_jpeg(RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8), quality=70)
    prepare(Given({"a": Pair(data, np.zeros(SIZE, np.uint8), SIZE)}), tmp_path / "out")
    assert (tmp_path / "out" / "images" / "a.jpg").read_bytes() == data


def test_splits_without_photographs_have_no_list(tmp_path: Path) -> None:
    assert prepare(Given({"a": pair()}), tmp_path / "out").splits == {"train": 1}
    assert lists(tmp_path / "out") == ["train_list.txt"]


def test_a_source_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^the source holds no photographs$"):
        prepare(Given({}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ignored_pixels_are_kept(tmp_path: Path) -> None:
    label = np.full(SIZE, 255, np.uint8)
    prepare(Given({"a": pair(label)}), tmp_path / "out")
    assert np.array_equal(read_label(tmp_path / "out" / "labels" / "a.png"), label)


def test_all_broken_photographs_are_told_at_once_and_no_list_is_written(tmp_path: Path) -> None:
    pairs: dict[str, Pair | Exception] = {
        "a": pair(),
        "b": DatasetError("b.jpg: truncated"),
        "c": pair(np.full(SIZE, 37, np.uint8)),
        "d": pair(np.zeros((4, 7), np.uint8)),
        "e": pair(),
    }
    with pytest.raises(DatasetError) as caught:
        prepare(Given(pairs), tmp_path / "out")
    assert str(caught.value) == (
        "3 of 5 could not be prepared: b.jpg: truncated; "
        "c: value 37 is not one of the 11 classes (0 to 10, 255 ignored); "
        "d: label is 7 x 4, its image 30 x 20"
    )
    assert lists(tmp_path / "out") == []


def test_of_very_many_broken_photographs_ten_are_named(tmp_path: Path) -> None:
    pairs: dict[str, Pair | Exception] = {f"n{i:02}": DatasetError(f"bad {i:02}") for i in range(13)}
    with pytest.raises(DatasetError) as caught:
        prepare(Given(pairs), tmp_path / "out")
    assert str(caught.value).startswith("13 of 13 could not be prepared: bad 00; bad 01; ")
    assert str(caught.value).endswith("bad 09; and 3 more")


def test_a_mended_source_is_prepared_into_the_folder_where_it_failed(tmp_path: Path) -> None:
    pairs: dict[str, Pair | Exception] = {"a": pair(), "b": DatasetError("b.jpg: truncated")}
    with pytest.raises(DatasetError):
        prepare(Given(pairs), tmp_path / "out")
    pairs["b"] = pair()
    assert prepare(Given(pairs), tmp_path / "out").splits == {"train": 2}


def test_a_full_disk_ends_the_work_at_once(tmp_path: Path) -> None:
    pairs: dict[str, Pair | Exception] = {"a": OutputError("cannot write x: full"), "b": DatasetError("broken")}
    with pytest.raises(OutputError, match=r"^cannot write x: full$"):
        prepare(Given(pairs), tmp_path / "out")
    assert lists(tmp_path / "out") == []


def test_the_folder_says_what_it_was_made_from(tmp_path: Path) -> None:
    source = Given({"a": pair()})
    prepare(source, tmp_path / "out")
    assert tomllib.loads((tmp_path / "out" / "prepared.toml").read_text()) == source.describe()


def test_the_same_source_again_is_fine(tmp_path: Path) -> None:
    source = Given({"a": pair(), "b": pair()})
    prepare(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    prepare(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_another_source_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    prepare(Given({"a": pair()}), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError) as caught:
        prepare(Given({"a": pair(), "b": pair()}), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: was prepared from another source or with other options (see prepared.toml); "
        "choose another folder"
    )
    assert contents(tmp_path / "out") == before


def test_other_options_of_the_same_source_are_refused(tmp_path: Path) -> None:
    prepare(Synthetic(count=4, size=32), tmp_path / "out")
    with pytest.raises(OutputError, match="other options"):
        prepare(Synthetic(count=4, size=32, seed=1), tmp_path / "out")


@pytest.mark.parametrize("name", ["train_list.txt", "test_list.txt", "images/a.jpg", "labels/a.png"])
def test_a_dataset_made_by_hand_is_not_written_over(tmp_path: Path, name: str) -> None:
    own = tmp_path / "out" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(OutputError) as caught:
        prepare(Given({"a": pair()}), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path / 'out'}: already holds a dataset that 'faceparse prepare' did not write; choose another folder"
    )
    assert contents(tmp_path / "out") == {name: b"mine"}


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/out"):
        prepare(Given({"a": AssertionError()}), tmp_path / "file" / "out")


def test_progress_is_told(tmp_path: Path) -> None:
    told = []

    def track(items: Any, total: int, what: str) -> Any:
        told.append((total, what))
        return items

    prepare(Given({"a": pair(), "b": pair()}), tmp_path / "out", track=track)
    assert told == [(2, "prepare")]
