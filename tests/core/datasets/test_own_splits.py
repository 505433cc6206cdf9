"""Splits that the user's photographs have already: folders, lists and tables, and their mistakes."""

from pathlib import Path

import pytest

from faceparse.core.datasets.folder_labels import Photograph
from faceparse.core.datasets.own_splits import splits_of_file, splits_of_folders
from faceparse.core.datasets.photograph_names import PhotographNames
from faceparse.core.errors import DatasetError, SettingsError

RAW = Path("raw")


def photographs(*paths: str, split: str = "") -> list[Photograph]:
    return [Photograph(path.rsplit(".", 1)[0], RAW / path, (), {"split": split}) for path in paths]


def splits(file: str, *paths: str) -> tuple[dict[str, str], list[str]]:
    return splits_of_file(file, PhotographNames(photographs(*paths), RAW))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("VAL", "val"),
        ("valid", "val"),
        ("validation", "val"),
        ("test", "test"),
    ],
)
def test_words_for_splits(word: str, expected: str) -> None:
    assert splits_of_folders(photographs("a.jpg", split=word)) == {"a": expected}


def test_another_word_is_refused() -> None:
    with pytest.raises(DatasetError) as caught:
        splits_of_folders(photographs("a.jpg", split="trian"))
    assert str(caught.value) == (
        "raw/a.jpg: 'trian' stands where --images has {split}, and is none of train, val and test; did you mean "
        "'train'?; rename it or narrow the pattern"
    )


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_table_of_two_columns(tmp_path: Path, sign: str) -> None:
    file = tmp_path / "s.csv"
    file.write_text(f"image{sign}fold\na{sign}train\nb.JPG{sign}valid\n", "utf-8-sig")
    assert splits(str(file), "a.jpg", "b.jpg") == ({"a": "train", "b": "val"}, [])


def test_a_table_of_more_columns_names_its_own(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text("id,age,split\na,7,train\n")
    assert splits(str(file), "a.jpg") == ({"a": "train"}, [])
    file.write_text("id,age,fold\na,7,train\n")
    with pytest.raises(DatasetError, match=r"s.csv: no column 'split' among age, fold; name one so$"):
        splits(str(file), "a.jpg")


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text("id,split\na,train\na,test\n1,val\nx,train\nb,Ttrain\nb,val\nb,val\n")
    found, problems = splits(str(file), "a.jpg", "b.jpg", "p/1.jpg", "q/1.jpg")
    assert found == {"a": "train", "b": "val"}
    assert problems == [
        f"{file}:6: 'Ttrain' is no split; write train, val or test",
        f"{file}:3: 'a' is 'test' here, and 'train' in {file}:2; keep one of the lines",
        f"{file}:4: '1' may be 'p/1' or 'q/1'; write one of them",
        f"{file}:5: 'x' is no photograph in raw; fix the line",
    ]


def test_lists_of_a_photograph_a_line(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\n\n# comment\n./p/1.jpg\n", "utf-16")
    (tmp_path / "valid.txt").write_text(f"raw/q/1.jpg\n{RAW.resolve()}/my face.jpg\nimages/b.jpg labels/b.png\n")
    found, problems = splits(
        str(tmp_path / "{split}.txt"), "a.jpg", "p/1.jpg", "q/1.jpg", "my face.jpg", "images/b.jpg"
    )
    assert found == {"a": "train", "p/1": "train", "q/1": "val", "my face": "val", "images/b": "val"}
    assert problems == []


def test_a_photograph_in_two_lists_is_told(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("a\n")
    _, (problem,) = splits(str(tmp_path / "{split}.txt"), "a.jpg")
    assert problem == (
        f"{tmp_path}/test.txt:1: 'a' is 'test' here, and 'train' in {tmp_path}/train.txt:1; keep one of the lines"
    )


def test_lists_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        splits(f"{tmp_path}/{{split}}.txt", "a.jpg")
    assert str(caught.value) == (
        f"--splits '{tmp_path}/{{split}}.txt': no list such as {tmp_path}/train.txt with photographs in it; "
        "fix the path"
    )


@pytest.mark.parametrize("name", ["train.txt", "s.csv"])
def test_binary_files_are_no_lists(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\x00\x80")
    file = "{split}.txt" if name == "train.txt" else name
    with pytest.raises(DatasetError, match=f"{name}: not a text file in UTF-8; save it"):
        splits(str(tmp_path / file), "a.jpg")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"^cannot read .*gone.csv: No such file"):
        splits(str(tmp_path / "gone.csv"), "a.jpg")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "\\", "a/", "..jpg"])
def test_names_that_no_photograph_has_are_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / "s.csv"
    file.write_text(f"id,split\n{name},train\n")
    found, problems = splits(str(file), "p/1.jpg")
    assert (found, problems) == ({}, [f"{file}:2: {name!r} is no photograph in raw; fix the line"])
