"""groups.csv: what is written is read, and a bad line is named."""

from pathlib import Path

import pytest

from faceparse.core.datasets.dataset_groups import (
    GROUPS_FILE,
    group_names,
    group_numbers,
    read_groups,
    torn,
    write_groups,
)
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import DatasetError

LISTS = {"train": ["a", "b", "c"], "test": ["d"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset whose files hold nothing: nobody reads them here."""
    for split, names in LISTS.items():
        for name in names:
            for file in (tmp_path / f"images/{name}.jpg", tmp_path / f"labels/{name}.png"):
                file.parent.mkdir(exist_ok=True)
                file.touch()
        (tmp_path / f"{split}_list.txt").write_text("".join(f"images/{n}.jpg labels/{n}.png\n" for n in names))
    return tmp_path


def test_what_is_written_is_read(root: Path) -> None:
    groups = {"d": "ä, b", "a": 'the "first"', "b": "Anna Maria"}
    write_groups(root, groups)
    assert read_groups(root) == groups
    assert (root / GROUPS_FILE).read_text().startswith('photograph,group\na,"the ""first"""\n')


def test_without_the_file_each_photograph_is_alone(root: Path) -> None:
    samples = DatasetFolder(root).samples("train")
    assert group_names(root, samples) == ["photograph a", "photograph b", "photograph c"]
    assert group_numbers(root, samples) is None


def test_photographs_of_one_group_have_one_number(root: Path) -> None:
    write_groups(root, {"c": "x", "a": "x"})
    numbers = group_numbers(root, DatasetFolder(root).samples("train"))
    assert numbers is not None
    assert numbers[0] == numbers[2] != numbers[1]
    assert sorted(set(numbers.tolist())) == [0, 1]


def test_a_split_none_of_whose_photographs_is_named_is_sound(root: Path) -> None:
    write_groups(root, {"d": "x"})
    assert group_numbers(root, DatasetFolder(root).samples("train")) is None


def test_a_group_in_several_splits() -> None:
    pairs = [("anna", "train"), ("ben", "val"), ("anna", "test"), ("ben", "val")]
    assert torn(pairs) == ["anna in test and train"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,person\na,1\n", "groups.csv: its first line is not 'photograph,group'; write it so"),
        ("", "groups.csv: its first line is not 'photograph,group'; write it so"),
        ("photograph,group\na\n", "groups.csv:2: not the id of a photograph and the name of its group; fix the line"),
        ("photograph,group\na,\n", "groups.csv:2: not the id of a photograph and the name of its group; fix the line"),
        ("photograph,group\na,x\n\na,y\n", "groups.csv:4: 'a' is in two groups, 'x' and 'y'; keep one"),
        (
            "photograph,group\na.jpg,x\n",
            "groups.csv: names no photograph of train, test; write their ids, such as 'a'",
        ),
        ('photograph,group\n"a,x\n', "groups.csv:2: not a line of a CSV file (unexpected end of data); fix it"),
    ],
)
def test_a_bad_file_is_named(root: Path, text: str, expected: str) -> None:
    (root / GROUPS_FILE).write_text(text)
    with pytest.raises(DatasetError) as caught:
        group_names(root, DatasetFolder(root).samples("train"))
    assert str(caught.value) == f"{root}/{expected}"


def test_a_file_in_another_encoding_is_refused(root: Path) -> None:
    (root / GROUPS_FILE).write_bytes("photograph,group\na,ä\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"groups.csv: not a text file in UTF-8; save it as CSV in UTF-8$"):
        read_groups(root)
