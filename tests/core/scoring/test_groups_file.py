"""Groups from CSV files, good and bad."""

from pathlib import Path

import pytest

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.scoring.groups import Grouping
from faceparse.core.scoring.groups_file import DISTINCT, MOST, read_groups
from faceparse.core.scoring.split import Split

IDS = ["1", "2", "train/3", "a.b", *map(str, range(10, 70))]
ROOT = Path("faces")


def sample(name: str) -> Sample:
    paths = {"edge": "edges/x.png", "label_raw": "labels_raw/x.png", "project": "project/x.npy"}
    files = {"image": f"images/{name}.jpg", "label": f"labels/{name}.png"} | paths
    return Sample(name, **{kind: ROOT / file for kind, file in files.items()})


SPLIT = Split(ROOT, "test", [sample(name) for name in IDS], get_label_set("helen"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "groups.csv"


def read(path: Path, *, ids: list[str] | None = None, warnings: list[str] | None = None) -> dict[str, Grouping]:
    split = SPLIT if ids is None else Split(ROOT, "test", [sample(name) for name in ids], SPLIT.label_set)
    found = read_groups(path, split, warn=[].append if warnings is None else warnings.append)
    return {grouping.name: grouping for grouping in found}


@pytest.mark.parametrize("first", ["id", "image", "ID", '"id"'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_column_is_a_grouping(file: Path, first: str, delimiter: str, encoding: str) -> None:
    lines = [[first, "sex", "ville"], ["2", "f", "Orléans"], ["1", "m", ""], [" train/3 ", "f", '"Aix"']]
    file.write_bytes("\r\n".join(delimiter.join(line) for line in lines).encode(encoding))
    found = read(file, ids=IDS[:3])
    assert list(found) == ["sex", "ville"]
    assert found["sex"].cells(3) == ["m", "f", "f"]
    assert [group.name for group in found["sex"].groups] == ["f", "m"]
    assert found["ville"].cells(3) == [None, "Orléans", "Aix"]


@pytest.mark.parametrize(
    "name", ["train/3", "train/3.jpg", "train/3.png", "images/train/3.jpg", "labels/train/3.png", "images/train/3"]
)
def test_a_photograph_has_its_names_in_the_list(file: Path, name: str) -> None:
    file.write_text(f"image,sex\n{name},m\n1.jpg,f\n")
    assert read(file, ids=["1", "train/3"])["sex"].cells(2) == ["f", "m"]


def test_an_id_with_a_dot_is_no_suffix(file: Path) -> None:
    file.write_text("id,x\na.b,p\na,q\n")
    assert read(file, ids=["a", "a.b"])["x"].cells(2) == ["q", "p"]


def test_a_photograph_that_the_list_repeats_counts_as_often(file: Path) -> None:
    file.write_text("id,x\n1,p\n2,q\n")
    assert read(file, ids=["1", "2", "1"])["x"].cells(3) == ["p", "q", "p"]


def test_numbers_become_thirds_where_many_differ(file: Path) -> None:
    many = "".join(f"{name},{i / 2}\n" for i, name in enumerate(IDS))
    file.write_text(f"id,age\n{many}")
    age = read(file)["age"]
    assert [group.name for group in age.groups] == ["low", "middle", "high"]
    assert age.cells(len(IDS))[:3] == [0, 0.5, 1]
    few = "".join(f"{name},{1 + i % DISTINCT}{'.0' if i % 3 else ''}\n" for i, name in enumerate(IDS))
    file.write_text(f"id,monk\n{few}")
    assert [group.name for group in read(file)["monk"].groups] == [str(1 + i) for i in range(DISTINCT)]


def test_codes_are_no_numbers_and_close_numbers_are_two(file: Path) -> None:
    codes = "".join(f"{name},1_{i % (DISTINCT + 2)}\n" for i, name in enumerate(IDS))
    file.write_text(f"id,code\n{codes}")
    assert len(read(file)["code"].groups) == DISTINCT + 2  # by words, where thirds would have mixed them
    close = "".join(f"{name},123456789012{3 + i % 2}\n" for i, name in enumerate(IDS))
    file.write_text(f"id,session\n{close}")
    assert [group.name for group in read(file)["session"].groups] == ["1234567890123", "1234567890124"]


def test_a_word_among_numbers_is_told(file: Path) -> None:
    warnings: list[str] = []
    file.write_text("id,age\n1,30\n2,41\n10,30\n11,unknown\n")
    assert [group.name for group in read(file, ids=["1", "2", "10", "11"], warnings=warnings)["age"].groups] == [
        "30",
        "41",
        "unknown",
    ]
    assert warnings == [
        f"{file}: column 'age' has numbers and 'unknown', so each value is a group of its own; leave such a cell empty"
    ]


def test_photographs_on_one_side_alone_are_named(file: Path) -> None:
    warnings: list[str] = []
    file.write_text("id,x\n1,p\n2,q\n" + "".join(f"none{i},p\n" for i in range(5)))
    assert read(file, ids=["1", "2", "10", "11"], warnings=warnings)["x"].cells(4) == ["p", "q", None, None]
    assert warnings == [
        f"{file}: 5 of its photographs are not in faces test and do not count: 'none0', 'none1', 'none2', ...",
        f"{file}: lacks 2 of the 4 photographs of faces test, which form no group: '10', '11'",
    ]


def test_one_photograph_is_told_of_in_the_singular(file: Path) -> None:
    warnings: list[str] = []
    file.write_text("id,x\n1,p\n2,q\nnone,p\n")
    read(file, ids=["1", "2"], warnings=warnings)
    assert warnings == [f"{file}: 1 of its photographs is not in faces test and does not count: 'none'"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ": empty; its first line is like 'id,sex,age', then comes a line for each photograph"),
        (" \n\n", ": empty; its first line"),
        ("name,sex\n1,m\n", ": begins with 'name,sex'; the first column is id or image, and at least one more follows"),
        ("id\n1\n", ": begins with 'id'; the first column is id or image"),
        ("id,sex\n", ": has no line but the first; add a line for each photograph"),
        ("id,sex,sex\n1,m,m\n", ": has two columns 'sex'; rename or remove one"),
        ("id,sex,\n1,m,\n", ": column 3 has no name of printable letters; name it or remove it"),
        ("id,skin_hue\n1,m\n", ": column 'skin_hue' is named like a built-in grouping; rename it"),
        ("id,sex\n1,m\n2,f,x\n", ":3: has 3 cells, the first line 2; fix the line"),
        ('id,sex\n1,"m\n', ":2: not a line of a CSV file ("),
        ('id,sex\n1,"m\nf"\n', ":3: 'm\\nf' is not of printable letters; fix the cell"),
        ("id,sex\n1,m\n\n1.jpg,f\n", ":4: '1.jpg' is already on line 2; keep one of the lines"),
        ("id,sex\nx,m\ny,f\n", ": none of its photographs ('x', 'y') is in faces test; write ids as there, such as "),
        ("id,sex\n1,m\n2,m\n", ": column 'sex' puts all photographs into one group, 'm'; remove the column"),
        ("id,sex\n1,\n2,\n", ": column 'sex' is empty for all photographs; remove the column"),
        (
            "id,name\n" + "\n".join(f"{name},n{name}" for name in IDS),
            f": column 'name' has {len(IDS)} groups, such as 'n1', 'n10', 'n11', ..., at most {MOST} can be scored; ",
        ),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(file: Path, content: str, expected: str) -> None:
    file.write_text(content)
    with pytest.raises(DatasetError) as refused:
        read(file)
    assert str(refused.value).startswith(f"{file}{expected}")
    assert "\n" not in str(refused.value)


def test_a_file_in_another_encoding_or_none_is_refused(file: Path) -> None:
    with pytest.raises(DatasetError, match=r"^cannot read .*groups\.csv: No such file"):
        read(file)
    file.write_bytes("id,ville\n1,Orléans\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"groups\.csv: not a text file in UTF-8; save it as CSV in UTF-8$"):
        read(file)


def test_a_name_of_several_photographs_is_refused(file: Path) -> None:
    both = [Sample(f"{end}/x", ROOT / "images" / "x.jpg", ROOT / "labels" / end / "x.png", *[ROOT] * 3) for end in "ab"]
    file.write_text("image,y\nx.jpg,p\n")
    with pytest.raises(DatasetError, match=r":2: 'x.jpg' names several photographs; write their ids, such as 'a/x'$"):
        read_groups(file, Split(ROOT, "test", both, SPLIT.label_set), warn=print)
