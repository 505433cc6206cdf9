from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.labelling.record import Row, read_record, write_record


def test_a_record_comes_back(tmp_path: Path) -> None:
    rows = {
        "b, of 'c'.jpg": Row(100, 7, 61, "ab" * 32),
        "a\n.jpg": Row(9, 0, 0, "cd" * 32),
        "\udcff.png": Row(1, 1, 2, "ef" * 32),
    }
    write_record(tmp_path / "labels.csv", rows)
    assert read_record(tmp_path / "labels.csv") == rows
    assert (tmp_path / "labels.csv").read_bytes().startswith(b"photograph,pixels,corrected,seconds,sha256\n")


def test_no_file_is_an_empty_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "labels.csv") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv: not a record of labels \(photograph,pixels,corrected,seconds,sha256\); move it elsewhere"),
        ("name,age\nanna,7\n", "not a record of labels"),
        ("photograph,pixels,corrected,seconds,sha256\na.jpg,1,2,3\n", r"labels\.csv:2: not a line of a record; fix it"),
        ("photograph,pixels,corrected,seconds,sha256\na.jpg,1,2,x,y\n", r"labels\.csv:2: not a line of a record"),
        ('photograph,pixels,corrected,seconds,sha256\n"a.jpg,1,2,3,y', r"labels\.csv:2: not a line of a record"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_record(tmp_path / "labels.csv")
