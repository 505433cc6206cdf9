"""Tables that people write: their signs, quotes and encodings, and lines that are wrong."""

from pathlib import Path

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.tables import Row, csv_text, read_table


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_table_is_its_columns_and_rows(tmp_path: Path, sign: str, encoding: str) -> None:
    file = tmp_path / "t.csv"
    rows = [['"Id"', "who", "age"], [" a.jpg ", '"Änna; B."', "7"], ["", "", ""], ["b", "", "8"]]
    file.write_bytes("".join(sign.join(cells) + "\r\n" for cells in rows).encode(encoding))
    assert read_table(file) == (["who", "age"], [Row(2, ["a.jpg", "Änna; B.", "7"]), Row(4, ["b", "", "8"])])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ": empty; its first line is like 'id,sex,age', then comes a line for each photograph"),
        (b"name,group\na,b\n", ": begins with 'name,group'; the first column is id or image, and at least one more"),
        (b"id\na\n", ": begins with 'id'; the first column is id or image, and at least one more follows"),
        (b"id,a,a\nx,1,2\n", ": has two columns 'a'; rename or remove one"),
        (b"id,\nx,1\n", ": column 2 has no name of printable letters; name it or remove it"),
        (b"id,a\nx\n", ":2: has 1 cells, the first line 2; fix the line"),
        (b"id,a\nx,\x1b[2J\n", ":2: '\\x1b[2J' is not of printable letters; fix the cell"),
        (b'id,a\nx,"1\n', ":2: not a line of a CSV file (unexpected end of data); fix it"),
        (b"id,a\n", ": has no line but the first; add a line for each photograph"),
        (b"\xff\x00\x80", ": not a text file in UTF-8; save it as CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_table(file)
    assert str(caught.value).startswith(f"{file}{expected}")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [["id", "who"], ["a", 'Änna, "B."'], ["b", "7"]]
    (tmp_path / "t.csv").write_text(csv_text(rows), "utf-8", newline="")
    assert read_table(tmp_path / "t.csv") == (["who"], [Row(2, rows[1]), Row(3, rows[2])])
    assert csv_text([["id", "n"], ["a", 7]]) == "id,n\na,7\n"
