"""Patterns of paths: what wildcards and fields stand for, and which files fit."""

from pathlib import Path

import pytest

from faceparse.core.text.path_pattern import Pattern


@pytest.mark.parametrize(
    ("pattern", "path", "name", "wildcards", "fields"),
    [
        ("photos/*.jpg", "photos/anna.JPG", "anna", ("anna",), {}),
        ("./photos/*.jpg", "photos/a.b.jpg", "a.b", ("a.b",), {}),
        ("photos/*", "photos/a.b.webp", "a.b", ("a.b",), {}),
        ("photos/**/*.jpg", "photos/1.jpg", "1", ("", "1"), {}),
        ("photos/**/*.jpg", "photos/x/y/1.jpg", "x/y/1", ("x/y/", "1"), {}),
        ("photos/**.jpg", "photos/x/1.jpg", "x/1", ("x/1",), {}),
        ("*/photo.png", "n1/photo.png", "n1", ("n1",), {}),
        ("*/photos/*.jpg", "anna/photos/1.jpg", "anna/1", ("anna", "1"), {}),
        ("**/photos/*.jpg", "photos/1.jpg", "1", ("", "1"), {}),
        ("**/photos/*.jpg", "x/y/photos/1.jpg", "x/y/1", ("x/y/", "1"), {}),
        ("p/*_*.jpg", "p/anna_1.jpg", "anna_1", ("anna", "1"), {}),
        ("{1}/{*}.jpg", "{1}/{a}.jpg", "a", ("a",), {}),
        ("a.jpg", "a.jpg", "a.jpg", (), {}),
        ("p/{split}/*.jpg", "p/train/1.jpg", "train/1", ("1",), {"split": "train"}),
        ("{class}/*_{class}.png", "skin/a_skin.png", "skin/a_skin", ("a",), {"class": "skin"}),
        ("{group}_*", "anna_maria_1", "anna_maria_1", ("maria_1",), {"group": "anna"}),
        ("[1]/*.jpg", "[1]/a.jpg", "a", ("a",), {}),
    ],
)
def test_a_path_that_fits(
    pattern: str, path: str, name: str, wildcards: tuple[str, ...], fields: dict[str, str]
) -> None:
    match = Pattern(pattern).match(path)
    assert match is not None
    assert (match.name, match.wildcards, match.fields) == (name, wildcards, fields)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("photos/*.jpg", "photos/x/1.jpg"),
        ("photos/*.jpg", "photos/1.png"),
        ("photos/*.jpg", "Photos/1.jpg"),
        ("photos/**/*.jpg", "other/1.jpg"),
        ("{class}/*_{class}.png", "skin/a_nose.png"),
        ("p/*.jpg", "p/.jpg"),
    ],
)
def test_a_path_that_does_not_fit(pattern: str, path: str) -> None:
    assert Pattern(pattern).match(path) is None


def test_filling_undoes_matching() -> None:
    for text, path in (("p/**/*.jpg", "p/x/y/1.jpg"), ("p/{split}/*_{class}.png", "p/val/a_skin.png")):
        match = Pattern(text).match(path)
        assert match is not None
        assert Pattern(text).fill(match.wildcards, match.fields) == path


def test_files_come_in_order_and_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("p/b/2.jpg", "p/a.jpg", "p/.hidden.jpg", "p/.git/3.jpg", "q/4.jpg", "p/b/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "p" / "loop").symlink_to(tmp_path / "p")
    found = [path.relative_to(tmp_path).as_posix() for path, _ in Pattern("p/**/*.jpg").files(tmp_path)]
    assert found == ["p/a.jpg", "p/b/2.jpg"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert list(Pattern("p/*.jpg").files(tmp_path)) == []
