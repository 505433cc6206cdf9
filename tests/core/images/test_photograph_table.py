"""Photographs in Parquet files: their names, their bytes, bad cells, and how much is read and kept."""

import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.files.local_file import LocalFile, list_file
from faceparse.core.images import photograph_table
from faceparse.core.images.photograph import Found
from faceparse.core.images.photograph_table import KEPT, Cell, table_photographs

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

DATA = [bytes([i]) * (100 + i) for i in range(5)]


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def found(path: Path, column: str | None = None, below: str = "") -> list[Found]:
    return table_photographs(list_file(path), below or path.name, column)


def read(path: Path, column: str | None = None) -> list[tuple[str, bytes]]:
    return [(one.below, one.photograph.bytes()) for one in found(path, column)]


def test_encoded_photographs_are_called_by_their_rows(tmp_path: Path) -> None:
    for type_ in (pa.binary(), pa.large_binary()):
        path = write(tmp_path / "faces.parquet", {"image": pa.array(DATA, type_)}, row_group_size=2)
        assert read(path) == [(f"faces/{row:08d}", data) for row, data in enumerate(DATA)]
        one = found(path, below="sub/faces.parquet")[3]
        assert (one.below, one.photograph.where) == ("sub/faces/00000003", f"{path}/00000003")
        assert pickle.loads(pickle.dumps(one.photograph)).bytes() == DATA[3]
        assert one.photograph.file == path
        assert one.photograph.path == f"{path}/00000003"


def test_stamps_differ_by_row_and_change_with_the_table(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image": DATA})
    before = [one.photograph.stamp for one in found(path)]
    assert len(set(before)) == 5
    assert [one.photograph.stamp for one in found(path)] == before
    write(path, {"image": [*DATA, b"more"]})
    assert not {one.photograph.stamp for one in found(path)} & set(before)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.jpg", "b.png", "c.JPEG"], ["t/a.jpg", "t/b.png", "t/c.JPEG"]),
        (["a.jpg", "a.jpg", "c.jpg"], ["t/00000000", "t/00000001", "t/00000002"]),
        (["x/a.jpg", "b.jpg", "c.jpg"], ["t/00000000", "t/00000001", "t/00000002"]),
        (["../a.jpg", "b.jpg", "c.jpg"], ["t/00000000", "t/00000001", "t/00000002"]),
        (["a", "b", "c"], ["t/00000000", "t/00000001", "t/00000002"]),
        ([None, "b.jpg", "c.jpg"], ["t/00000000", "t/b.jpg", "t/c.jpg"]),
        ([None, "b.jpg", None], ["t/00000000", "t/b.jpg", "t/00000002"]),
        ([None, None, None], ["t/00000000", "t/00000001", "t/00000002"]),
    ],
)
def test_structs_are_called_by_their_paths_where_these_are_names(
    tmp_path: Path, paths: list[str | None], names: list[str]
) -> None:
    cells = [{"bytes": data, "path": path} for data, path in zip(DATA, paths, strict=False)]
    assert read(write(tmp_path / "t.parquet", {"image": cells})) == list(zip(names, DATA, strict=False))


def test_structs_without_bytes_lead_to_files(tmp_path: Path) -> None:
    for name, data in zip(("a.jpg", "b.jpg"), DATA, strict=False):
        (tmp_path / name).write_bytes(data)
    type_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": str(tmp_path / "b.jpg")}]
    path = write(tmp_path / "t.parquet", {"image": pa.array(cells, type_)})
    assert read(path) == [("a.jpg", DATA[0]), ("b.jpg", DATA[1])]
    cells[1] = {"bytes": DATA[2], "path": "b.jpg"}
    mixed = write(tmp_path / "mixed.parquet", {"image": pa.array(cells, type_)})
    assert read(mixed) == [("mixed/a.jpg", DATA[0]), ("mixed/b.jpg", DATA[2])]
    before = [one.photograph.stamp for one in found(mixed)]
    (tmp_path / "a.jpg").write_bytes(b"another")
    assert [one.photograph.stamp == stamp for one, stamp in zip(found(mixed), before, strict=True)] == [False, True]


def test_paths_lead_to_files_beside_the_table_and_name_them(tmp_path: Path) -> None:
    (tmp_path / "sub" / "in").mkdir(parents=True)
    for name in ("sub/in/a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    texts = ["in/a.jpg", "../b.jpg", str(tmp_path / "c.jpg")]
    path = write(tmp_path / "sub" / "t.parquet", {"file": texts})
    assert read(path) == [("in/a.jpg", b"sub/in/a.jpg"), ("b.jpg", b"b.jpg"), ("c.jpg", b"c.jpg")]
    assert [one.below for one in found(path, below="sub/t.parquet")] == ["sub/in/a.jpg", "sub/b.jpg", "sub/c.jpg"]
    one = found(path)[0].photograph
    assert (one.where, one.content) == (str(tmp_path / "sub" / "in" / "a.jpg"), None)
    dictionary = write(tmp_path / "sub" / "d.parquet", {"file": pa.array(texts).dictionary_encode()})
    assert read(dictionary) == read(path)


@pytest.mark.parametrize("text", ["s3://bucket/a.jpg", "file:///etc/passwd", "https://host/a.jpg", "S3://b/a.jpg"])
def test_a_path_to_another_place_is_not_read_and_does_not_stop_the_others(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    path = write(tmp_path / "t.parquet", {"image": ["a.jpg", text, text]})
    first, *others = found(path)
    assert first.photograph.bytes() == b"a"
    assert [one.below for one in others] == ["t/00000001", "t/00000002"]
    assert [one.photograph.where for one in others] == [f"{path}/00000001", f"{path}/00000002"]
    told = f"{path}: leads to {text}, another place; put the photographs beside the table"
    for one in others:
        with pytest.raises(DatasetError) as caught:
            one.photograph.bytes()
        assert str(caught.value) == told
        assert one.photograph.stamp
    with pytest.raises(DatasetError) as refused:
        found(write(path, {"image": [text, text]}))
    assert str(refused.value) == told


def test_a_password_in_another_place_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leads to ftp://host/a.jpg, another place"):
        found(write(tmp_path / "t.parquet", {"image": ["ftp://me:secret@host/a.jpg"]}))


def test_cells_without_a_photograph_are_told_and_the_others_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    type_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    structs = pa.array([{"bytes": b"a", "path": None}, {"bytes": None, "path": None}, None, {"bytes": b""}], type_)
    for column in (pa.array([b"a", None, b"", None]), structs, pa.array(["a.jpg", None, "", ".."])):
        path = write(tmp_path / "t.parquet", {"image": column})
        first, *empty = found(path)
        assert first.photograph.bytes() == b"a"
        for row, one in enumerate(empty, 1):
            with pytest.raises(DatasetError) as caught:
                one.photograph.bytes()
            assert str(caught.value) == f"{path}/{row:08d}: no photograph in column 'image'; fill the cell"
            assert one.below == f"t/{row:08d}"
            assert one.photograph.stamp


def test_a_column_is_chosen_or_asked_for(tmp_path: Path) -> None:
    texts = ["x"] * 5
    assert read(write(tmp_path / "1.parquet", {"photo": DATA}))[0][1] == DATA[0]
    assert read(write(tmp_path / "2.parquet", {"image": DATA, "mask": DATA[::-1]}))[0][1] == DATA[0]
    assert read(tmp_path / "2.parquet", "mask")[0][1] == DATA[4]
    for columns, column, problem in (
        ({"a": DATA, "b": DATA}, None, "no column 'image'; choose one of its columns by --column: a, b"),
        (
            {"name": texts, "labels": DATA},
            None,
            "no column 'image'; choose one of its columns by --column: name, ",
        ),
        ({"a": DATA, "b": texts}, "c", "no column 'c'; choose one of its columns by --column: a, b"),
        ({"a": DATA, "image": [1] * 5}, None, "column 'image' (int64) cannot hold them; choose one of its columns by "),
        (
            {"n": [1] * 5},
            None,
            "column 'n' (int64) cannot hold them; choose one of its columns by --column: none holds",
        ),
        ({"image": [[b"a"]] * 5}, None, "column 'image' (list<"),
    ):
        path = write(tmp_path / "t.parquet", columns)
        with pytest.raises(DatasetError) as caught:
            found(path, column)
        assert str(caught.value).startswith(f"{path}: {problem}")


def test_a_column_whose_name_begins_anothers_is_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image.bytes": DATA[::-1], "image": DATA, "image.path": ["x"] * 5})
    assert [data for _, data in read(path)] == DATA
    assert [data for _, data in read(path, "image.bytes")] == DATA[::-1]


def test_damaged_tables_are_one_line(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.parquet", {"image": DATA}).read_bytes()
    path = tmp_path / "t.parquet"
    for data in (whole[:-10], whole[: len(whole) // 2], b"", b"PAR1", b"no table" * 99):
        path.write_bytes(data)
        with pytest.raises(DatasetError) as caught:
            found(path)
        assert str(caught.value).startswith(f"{path}: damaged Parquet file (")
        assert "\n" not in str(caught.value)
    write(path, {"image": pa.array([], pa.binary())})
    with pytest.raises(DatasetError, match="has no rows; name another file"):
        found(path)


def test_rows_before_a_damaged_page_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    random = [bytes((7 * i + j) % 251 for j in range(5000)) for i in range(200)]
    write(path, {"image": random}, data_page_size=20_000, use_dictionary=False, compression="none", row_group_size=100)
    data = path.read_bytes()
    start = data.index(random[60])
    path.write_bytes(data[: start - 5000] + bytes(15_000) + data[start + 10_000 :])
    good, bad = 0, 0
    for row, one in enumerate(found(path)):
        try:
            good += one.photograph.bytes() == random[row]
        except DatasetError as error:
            assert str(error).startswith(str(path))
            bad += 1
    assert good >= 130
    assert bad > 0


def test_a_table_that_changes_is_not_read_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"image": DATA})
    photographs = [one.photograph for one in found(path)]
    write(path, {"image": [b"x" * 500] * 9})
    with pytest.raises(DatasetError, match=r"t.parquet: has changed since it was listed; start the command again"):
        photographs[0].bytes()


class Counted(io.RawIOBase):
    """A file that counts what is read of it."""

    read_bytes = 0

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, *arguments: int) -> int:
        return int(self._file.seek(*arguments))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        count = int(self._file.readinto(buffer))
        Counted.read_bytes += count
        return count


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    opened = LocalFile.open
    monkeypatch.setattr(LocalFile, "open", lambda self, block=0: Counted(opened(self, block)))
    monkeypatch.setattr(Counted, "read_bytes", 0)
    return Counted


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """One group of 400 rows, 40 MB."""
    rows = [i.to_bytes(2, "big") * 50_000 for i in range(400)]
    return write(tmp_path / "large.parquet", {"image": rows}, compression="none", use_dictionary=False)


def test_listing_a_table_reads_its_end_alone(large: Path, counted: type[Counted]) -> None:
    assert len(found(large)) == 400
    assert counted.read_bytes < 200_000


def test_threads_that_run_ahead_read_a_group_once_and_it_is_never_kept_whole(
    large: Path, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    most, keep = [0], photograph_table._Reader._keep

    def watch(self: Any, batch: Any, wanted: int) -> None:
        keep(self, batch, wanted)
        most[0] = max(most[0], len(self._kept))

    monkeypatch.setattr(photograph_table._Reader, "_keep", watch)
    photographs = [one.photograph for one in found(large)]
    with ThreadPoolExecutor(8) as pool:
        for i, data in enumerate(pool.map(lambda one: one.bytes(), photographs)):
            assert data == i.to_bytes(2, "big") * 50_000
    assert counted.read_bytes < 1.2 * large.stat().st_size
    assert most[0] <= KEPT + 8


def test_whoever_goes_back_gets_the_right_row(large: Path, counted: type[Counted]) -> None:
    photographs = [one.photograph for one in found(large)]
    for row in (399, 0, 200, 199, 100, 398):
        assert photographs[row].bytes()[:2] == row.to_bytes(2, "big")


def test_a_reader_is_not_opened_twice_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.parquet", {"image": DATA})
    cells = [one.photograph.content for one in found(path)]
    opened, open_ = list[int](), LocalFile.open
    monkeypatch.setattr(LocalFile, "open", lambda self, block=0: (opened.append(1), open_(self, block))[1])
    barrier = threading.Barrier(5)

    def read_together(cell: Any) -> bytes:
        barrier.wait()
        return bytes(cell.read())

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(read_together, cells)) == DATA
    assert len(opened) == 1
    assert isinstance(cells[0], Cell)
