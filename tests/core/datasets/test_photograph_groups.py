"""Groups of photographs: by patterns of their names, by tables, and what fits no group."""

from pathlib import Path

import pytest

from faceparse.core.datasets.folder_labels import Photograph
from faceparse.core.datasets.photograph_groups import groups_of
from faceparse.core.datasets.photograph_names import PhotographNames
from faceparse.core.errors import SettingsError

RAW = Path("raw")


def groups(by: str, *ids: str) -> tuple[dict[str, str], list[str], list[str]]:
    photographs = [Photograph(one, RAW / f"{one}.jpg", (), {}) for one in ids]
    return groups_of(photographs, by, PhotographNames(photographs, RAW))


@pytest.mark.parametrize(
    ("pattern", "name", "group"),
    [
        ("{group}_*", "anna_1", "anna"),
        ("{group}_*", "anna_1_2", "anna"),  # the shortest: a group that is too large tears no person
        ("{group}/*", "anna/1", "anna"),
        ("{group}/**/*", "anna/2020/may/1", "anna"),
        ("*/{group}_*", "club/anna_1", "anna"),
        ("*-{group}", "0001-anna", "anna"),
    ],
)
def test_a_pattern_of_names(pattern: str, name: str, group: str) -> None:
    found, problems, notes = groups(pattern, name)
    assert (found, problems) == ({name: group}, [])
    assert notes == ["1 groups, of which the largest has 1 photographs; each is in one split"]


def test_what_fits_no_group_is_one_of_its_own_and_told() -> None:
    found, _, notes = groups("{group}_*", "anna_1", "anna_2", "anna", "0003")
    assert found == {"anna_1": "anna", "anna_2": "anna"}
    assert notes == [
        "1 groups, of which the largest has 2 photographs; each is in one split",
        "2 photographs fit no group, and count as one each: anna, 0003",
    ]


def test_a_table(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("id,person\na,anna\nb.jpg,anna\nc,\nx,ben\n")
    found, problems, notes = groups(str(file), "a", "b", "c")
    assert found == {"a": "anna", "b": "anna"}
    assert problems == [f"{file}:5: 'x' is no photograph in raw; fix the line"]
    assert notes[1] == "1 photographs fit no group, and count as one each: c"


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("anna_*", "--group 'anna_*': give a pattern of the names with {group} in it, such as '{group}_*' or"),
        ("{group}-*", "--group '{group}-*': fits no photograph, such as 'anna_1'; fix the pattern or the file"),
        ("{group}_{person}", "--group '{group}_{person}': the only field is {group}; write * for what differs"),
    ],
)
def test_a_pattern_that_groups_nothing_is_refused(by: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        groups(by, "anna_1", "anna_2")
    assert str(caught.value).startswith(expected)
