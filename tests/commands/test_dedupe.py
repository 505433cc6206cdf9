"""`dedupe`: folders and tables, its list, its exit codes, bad input."""

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.images.encoding import encode_jpeg, encode_png

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

ONE = ("--processes", 1)


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    """A large PNG, the same as a smaller JPEG, another face, and the JPEG again."""
    source = Synthetic(count=3, size=128, seed=2)
    one, other = (np.asarray(source.load(item).image) for item in source.items()[:2])
    small = encode_jpeg(cv2.resize(one, (96, 96), interpolation=cv2.INTER_AREA))
    return [encode_png(one), small, encode_jpeg(other), small]


def listed(path: Path) -> list[tuple[str, str, str]]:
    with path.open(newline="") as file:
        return [(row["group"], row["photograph"], row["kept"]) for row in csv.DictReader(file)]


def table(path: Path, column: list[Any], name: str = "image") -> Path:
    parquet.write_table(pyarrow.table({name: column}), path)
    return path


def test_a_folder_with_equal_names_in_two_folders(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    place, out = tmp_path / "photos", tmp_path / "list.csv"
    for name, data in zip(("a/1.png", "b/1.jpg", "b/2.jpg", "a/1.jpg"), encoded, strict=True):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    before = {path: path.read_bytes() for path in place.rglob("*.*")}
    done = cli("dedupe", place, "-o", out, *ONE)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{out}: 2 near-duplicates of 1 among 4 photographs\n"
    assert listed(out) == [
        ("1", f"{place}/a/1.png", "yes"),
        ("1", f"{place}/a/1.jpg", "no"),
        ("1", f"{place}/b/1.jpg", "no"),
    ]
    assert {path: path.read_bytes() for path in place.rglob("*.*")} == before


def test_a_link_is_no_duplicate_of_its_target(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    place, out = tmp_path / "photos", tmp_path / "list.csv"
    place.mkdir()
    (place / "z.png").write_bytes(encoded[0])
    (place / "a.png").symlink_to(place / "z.png")
    assert cli("dedupe", place, "-o", out, *ONE).out == f"{out}: 0 near-duplicates of 0 among 1 photographs\n"
    assert listed(out) == []


@pytest.mark.parametrize("kind", ["bytes", "structs", "paths"])
def test_a_table(kind: str, cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    cells: list[Any] = list(encoded)
    if kind == "structs":
        cells = [{"bytes": data, "path": "x.jpg"} for data in encoded]
    elif kind == "paths":
        cells = [f"{i}.jpg" for i in range(4)]
        for name, data in zip(cells, encoded, strict=True):
            (tmp_path / name).write_bytes(data)
    path, out = table(tmp_path / "t.parquet", cells), tmp_path / "list.csv"
    done = cli("dedupe", path, "-o", out, *ONE)
    assert (done.code, done.err) == (0, "")
    found = [str(tmp_path / f"{i}.jpg") if kind == "paths" else f"{path}/{i:08d}" for i in (0, 1, 3)]
    assert listed(out) == [("1", name, "no" if i else "yes") for i, name in enumerate(found)]


def test_broken_photographs_and_nulls_are_named_and_left_out(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", [encoded[1], None, encoded[2][:300], encoded[1]])
    done = cli("dedupe", path, "-o", tmp_path / "list.csv", *ONE)
    assert done.code == 1
    first, second = done.err.splitlines()
    assert first == f"left out: {path}/00000001: no photograph in column 'image'; fill the cell"
    assert second.startswith(f"left out: {path}/00000002: ")
    assert done.out.endswith("1 near-duplicates of 1 among 2 photographs, 2 left out\n")


def test_bad_places_are_one_line_and_nothing_is_written(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    whole = table(tmp_path / "whole.parquet", encoded, "photo")
    parquet.write_table(pyarrow.table({"one": encoded, "two": encoded}), tmp_path / "two.parquet")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "text.txt").write_text("no table")
    out = tmp_path / "list.csv"
    for arguments, problem in (
        ((whole, "--column", "image"), f"{whole}: no column 'image'; choose one of its columns by --column: photo"),
        ((tmp_path / "two.parquet",), f"{tmp_path / 'two.parquet'}: no column 'image'; choose one of its columns by "),
        ((cut,), f"{cut}: damaged Parquet file ("),
        ((empty,), f"{empty}: no photographs in it"),
        ((tmp_path / "text.txt",), f"{tmp_path / 'text.txt'}: one file alone; name a folder, a pattern, a tar or a "),
        ((tmp_path / "none",), f"{tmp_path / 'none'}: no such photograph or folder"),
        ((whole, "-o", whole), f"--output {whole}: the list is a CSV file"),
    ):
        done = cli("dedupe", *(arguments if "-o" in arguments else (*arguments, "-o", out)), *ONE)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"error: {problem}")
        assert done.err.count("\n") == 1
    assert not out.exists()


def test_rows_of_a_damaged_page_are_named_and_left_out(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", encoded)
    data = bytearray(path.read_bytes())
    data[4:40] = bytes(36)
    path.write_bytes(data)
    done = cli("dedupe", path, "-o", tmp_path / "list.csv", *ONE)
    assert done.code == 1
    assert done.err.count(f"left out: {path}: damaged Parquet file (") == 4


def test_a_path_in_two_rows_is_no_duplicate_of_itself(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded[0])
    path, out = table(tmp_path / "t.parquet", ["a.png", "./a.png"]), tmp_path / "list.csv"
    assert cli("dedupe", path, "-o", out, *ONE).out == f"{out}: 0 near-duplicates of 0 among 1 photographs\n"


def test_the_report_shows_the_groups_and_escapes_names(cli: Any, encoded: list[bytes], tmp_path: Path) -> None:
    place, page = tmp_path / "photos", tmp_path / "page.html"
    place.mkdir()
    for i, data in enumerate(encoded):
        (place / f"<b>{i}.jpg").write_bytes(data)
    done = cli("dedupe", place, "-o", tmp_path / "list.csv", "--report", page, *ONE)
    assert (done.code, done.err) == (0, "")
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 3
    assert "&lt;b&gt;0.jpg" in html
    assert "<b>" not in html
    assert "http" not in html
