"""`check`: what it prints, its JSON, its page, its remap, its exit codes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceparse.core.checking.class_orders import ORDERS
from faceparse.core.images.read_label import read_label
from tests.core.checking.celeba import write_celeba

ONE = ("--processes", 1)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    return write_celeba(tmp_path / "official", count=8, size=64)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return write_celeba(tmp_path / "foreign", order=ORDERS["zllrunning"].split(), count=8, size=64)


def test_statistics_below_the_problems_and_the_verdict_last(cli: Any, own_faces: Path) -> None:
    (own_faces / "labels" / "face_00003.png").write_bytes(b"")
    done = cli("check", own_faces, *ONE)
    assert (done.code, done.err) == (1, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{own_faces / 'labels' / 'face_00003.png'}: not a readable label picture")
    assert lines[1] == "images 72 x 72"
    assert lines[2].split() == ["class", "share", "%", "images"]
    rows = [line.split() for line in lines[3:-1]]
    assert [row[0] for row in rows][:3] == ["background", "skin", "left_brow"]
    assert sum(float(row[1]) for row in rows) == pytest.approx(100, abs=0.06)
    assert rows[1][2] == "15"
    assert lines[-1] == f"{own_faces}: 1 problem (12 train, 2 val, 2 test; 11 classes of helen)"


def test_json_is_all_of_stdout(cli: Any, faces: Path) -> None:
    done = cli("check", faces, "--json", *ONE)
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    classes = found.pop("classes")
    assert found == {
        "dataset": str(faces),
        "label_set": "helen",
        "order": None,
        "splits": {"train": 12, "val": 2, "test": 2},
        "sizes": {"smallest": [72, 72], "median": [72, 72], "largest": [72, 72], "distinct": 1},
        "problems": [],
        "notes": [],
    }
    assert classes[1]["name"] == "skin"
    assert classes[1]["images"] == 16
    assert sum(one["share"] for one in classes) == pytest.approx(1)


def test_json_with_problems_page_and_remap(cli: Any, foreign: Path, tmp_path: Path) -> None:
    done = cli("check", foreign, "--json", *ONE)
    assert done.code == 1
    found = json.loads(done.out)
    assert found["order"] == "zllrunning"
    (problem,) = found["problems"]
    assert problem.endswith(f"run 'faceparse check {foreign} --remap' to rewrite the labels")
    done = cli("check", foreign, "--json", "--remap", "--report", tmp_path / "page.html", *ONE)
    assert done.code == 0
    assert json.loads(done.out)["order"] == "celebamask-hq"
    assert done.err == f"{foreign}: 8 labels remapped from the class order zllrunning\n"
    assert (tmp_path / "page.html").is_file()


def test_remap_mends_what_check_found(cli: Any, foreign: Path, celeba: Path) -> None:
    done = cli("check", foreign, "--remap", *ONE)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{foreign}: 8 labels remapped from the class order zllrunning"
    assert lines[-1] == f"{foreign}: nothing wrong (2 train, 2 val, 4 test; 19 classes of celebamask-hq)"
    for path in (celeba / "labels").iterdir():
        assert np.array_equal(read_label(foreign / "labels" / path.name), read_label(path))


def test_remap_without_a_foreign_order_says_so(cli: Any, celeba: Path, tree: Any) -> None:
    before = tree()
    done = cli("check", celeba, "--remap", *ONE)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{celeba}: no foreign class order found; the labels are left as they are"
    assert tree() == before


def test_a_remap_that_was_cut_short(cli: Any, celeba: Path) -> None:
    (celeba / ".remap").mkdir()
    (celeba / "labels").rename(celeba / ".remap" / "labels")
    assert cli("check", celeba).message.startswith(f"{celeba / '.remap'}: a remap of the labels was cut short; ")
    done = cli("check", celeba, "--remap", *ONE)
    assert done.code == 0
    assert done.out.splitlines()[0] == f"{celeba}: finished the remap that was cut short"


def test_the_page_is_written_with_problems_too(cli: Any, own_faces: Path, tmp_path: Path) -> None:
    (own_faces / "labels" / "face_00003.png").write_bytes(b"")
    page = tmp_path / "new folder" / "page.html"
    done = cli("check", own_faces, "--report", page, *ONE)
    assert done.code == 1
    assert f"report: {page}" in done.out.splitlines()
    text = page.read_text("utf-8")
    assert text.count("<li>") == 1
    assert "face_00003.png: not a readable label picture" in text


def test_a_page_that_cannot_be_written(cli: Any, faces: Path) -> None:
    assert cli("check", faces, "--report", "/proc/none/page.html").message.startswith("cannot write /proc/none: ")


def test_a_report_takes_the_place_of_no_other_file(cli: Any, own_faces: Path) -> None:
    label = next((own_faces / "labels").iterdir())
    before = label.read_bytes()
    done = cli("check", own_faces, "--report", label)
    assert (done.code, done.err) == (2, f"error: --report {label}: exists, and is no HTML page; choose another name\n")
    assert label.read_bytes() == before
