from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.labelling.label_folder import find_photographs


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_photographs_are_found_by_name_with_their_files(tmp_path: Path) -> None:
    files(tmp_path, "b.JPG", "a.b.png", "notes.txt", ".hidden.jpg", "labels.csv", "labels/b.png", "guesses/b.png")
    found = find_photographs(tmp_path)
    assert [one.name for one in found.photographs] == ["a.b.png", "b.JPG"]
    assert found.photographs[0].label == tmp_path / "labels" / "a.b.png"
    assert found.photographs[1].guess == tmp_path / "guesses" / "b.png"
    assert found.notes == []


def test_a_key_is_no_path_and_stays(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", "b.jpg")
    before = [one.key for one in find_photographs(tmp_path).photographs]
    files(tmp_path, "aa.jpg")
    after = {one.name: one.key for one in find_photographs(tmp_path).photographs}
    assert before == [after["a.jpg"], after["b.jpg"]]
    assert all(key.isalnum() for key in after.values())
    assert len(set(after.values())) == 3


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("A.jpg", "a.jpg")])
def test_photographs_that_would_share_a_label_are_left_out(tmp_path: Path, names: tuple[str, str]) -> None:
    files(tmp_path, *names, "b.jpg")
    if len({path.name for path in tmp_path.iterdir()}) < 3:
        pytest.skip("the file system takes the names for one file")
    found = find_photographs(tmp_path)
    assert [one.name for one in found.photographs] == ["b.jpg"]
    first = sorted(names)[0]
    assert found.notes == [
        f"{first} and {sorted(names)[1]}: would have one label, labels/{Path(first).stem}.png; rename all but one"
    ]


def test_folders_in_it_are_named(tmp_path: Path) -> None:
    files(tmp_path, "a.jpg", *(f"day{i}/a.jpg" for i in range(7)))
    assert find_photographs(tmp_path).notes == [
        "folders in it are not searched: day0, day1, day2, day3, day4 and 2 more; --recursive searches them, too"
    ]


def test_folders_in_it_are_searched_where_that_is_asked(tmp_path: Path) -> None:
    """Hidden ones, and those of an earlier labelling, are passed over; their names tell photographs apart."""
    files(tmp_path, "a.jpg", "day1/a.jpg", "day1/am/b.PNG", ".trash/a.jpg", "labels/day1/a.png", "guesses/a.png")
    files(tmp_path, "day1/labels/a.png", "day1/guesses/a.png")
    (tmp_path / "day2").symlink_to(tmp_path)
    found = find_photographs(tmp_path, recursive=True)
    assert [one.name for one in found.photographs] == ["a.jpg", "day1/a.jpg", "day1/am/b.PNG"]
    assert found.photographs[2].label == tmp_path / "labels" / "day1" / "am" / "b.png"
    assert found.photographs[1].guess == tmp_path / "guesses" / "day1" / "a.png"
    assert len({one.key for one in found.photographs}) == 3
    assert found.notes == []
    files(tmp_path, "day1/A.png")
    assert find_photographs(tmp_path, recursive=True).notes == [
        "day1/A.png and day1/a.jpg: would have one label, labels/day1/A.png; rename all but one"
    ]


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"photos: no such folder; name the folder of your photographs$"):
        find_photographs(tmp_path / "photos")
    with pytest.raises(DatasetError, match=r"no photographs to label \(\.jpg, "):
        find_photographs(tmp_path)
    files(tmp_path, "day/a.jpg")
    with pytest.raises(DatasetError, match=r"no photographs to label; folders in it are not searched: day; --rec"):
        find_photographs(tmp_path)
    with pytest.raises(DatasetError, match="--label: an empty path"):
        find_photographs(Path(" "))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="gone is a broken link to "):
        find_photographs(tmp_path / "gone")
