"""Places that a user types: folders of tars and tables, here and elsewhere."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from faceparse.core.errors import DatasetError
from faceparse.core.images.photograph_sources import Search, Searcher

Store = Callable[[str, bytes], str]


def tarred(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def table(*rows: object) -> bytes:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    out = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pa.table({"image": rows}), out)
    return out.getvalue()


def search(place: object, **options: object) -> Search:
    (found,) = Searcher((".mp4",), **options).search([str(place)])  # type: ignore[arg-type]
    return found


def read(found: Search) -> dict[str, bytes]:
    return {one.below: one.photograph.bytes() for one in found.found}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two tars and two tables, and a text."""
    root = tmp_path / "album"
    (root / "sub").mkdir(parents=True)
    (root / "1.tar").write_bytes(tarred(("a.jpg", b"1a"), ("b.jpg", b"1b")))
    (root / "sub" / "2.TAR").write_bytes(tarred(("a.jpg", b"2a")))
    (root / "3.parquet").write_bytes(table(b"30", b"31"))
    (root / "sub" / "4.parquet").write_bytes(table("p.jpg"))
    (root / "sub" / "q").write_bytes(b"text")
    return root


def test_tars_and_tables_are_folders_of_photographs(album: Path) -> None:
    (album / "sub" / "p.jpg").write_bytes(b"4p")
    assert read(search(album / "1.tar")) == {"1/a.jpg": b"1a", "1/b.jpg": b"1b"}
    assert read(search(album / "3.parquet")) == {"3/00000000": b"30", "3/00000001": b"31"}
    assert search(album / "3.parquet").tables == 1
    assert read(search(album / "sub" / "4.parquet")) == {"p.jpg": b"4p"}


def test_a_folder_or_a_pattern_of_tars_and_tables(album: Path) -> None:
    four = {"1/a.jpg": b"1a", "1/b.jpg": b"1b", "3/00000000": b"30", "3/00000001": b"31"}
    assert read(search(album)) == four
    Path(album / "sub" / "4.parquet").unlink()
    assert read(search(album, recursive=True)) == four | {"sub/2/a.jpg": b"2a"}
    assert [path.name for path in search(album, recursive=True).passed_over] == ["q"]
    assert read(search(album / "**" / "*.tar")) == {"1/a.jpg": b"1a", "1/b.jpg": b"1b", "sub/2/a.jpg": b"2a"}


def test_where_photographs_are_tars_and_tables_are_passed_over(album: Path) -> None:
    (album / "own.jpg").write_bytes(b"own")
    found = search(album)
    assert read(found) == {"own.jpg": b"own"}
    assert [path.name for path in found.passed_over] == ["1.tar", "3.parquet"]


def test_a_broken_link_is_a_photograph_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "c.txt").symlink_to("nowhere")
    found = search(tmp_path)
    assert [one.below for one in found.found] == ["a.jpg", "b.jpg"]
    assert found.passed_over == [tmp_path / "c.txt"]
    with pytest.raises(DatasetError, match=r"b\.jpg is a broken link to nowhere$"):
        found.found[1].photograph.bytes()


def test_labels_in_tars_are_listed_as_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tarred(("a.jpg", b"a"), ("a.png", b"label")))
    assert search(path).passed_over == [path / "a.png"]


def test_a_tar_without_photographs_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tarred(("a.txt", b"a")))
    with pytest.raises(DatasetError, match=r"t.tar: no photographs in it \(.jpg, .*; name another file$"):
        search(path)


@pytest.mark.parametrize("name", ["../../up.jpg", "a/../../b.jpg", f"{'d' * 300}/a.jpg", f"{'d/' * 1500}a.jpg"])
def test_members_whose_names_are_no_place_for_outputs_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tarred((name, b"x"), ("good.jpg", b"good")))
    bad, good = search(path).found
    assert good.photograph.bytes() == b"good"
    assert bad.below.startswith("unnamed/")
    assert len(bad.below) < 40
    with pytest.raises(DatasetError, match=r"^.*t.tar/.*: (its path leads out|outputs cannot have) .*; rename it$"):
        bad.photograph.bytes()


@pytest.mark.parametrize("text", ["/", "..", ".", "x" * 5000, "a\0b.jpg", "../" * 900 + "a.jpg"])
def test_a_strangers_table_of_paths_does_no_harm(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(table("good.jpg", text))
    (tmp_path / "good.jpg").write_bytes(b"good")
    good, bad = search(path).found
    assert good.photograph.bytes() == b"good"
    assert ".." not in bad.below.split("/")
    assert isinstance(bad.photograph.stamp, str)
    with pytest.raises(DatasetError):
        bad.photograph.bytes()


def test_the_file_protocol_is_this_machine(album: Path) -> None:
    assert read(search(f"file://{album}/1.tar")) == read(search(album / "1.tar"))
    assert search(f"file://{album}/1.tar").found[0].photograph.where == f"{album}/1.tar/a.jpg"
    with pytest.raises(DatasetError, match="no such photograph, video or folder"):
        search(f"file://{album}/none.jpg")


def test_a_bucket_of_photographs_tars_and_tables(bucket: Store) -> None:
    for key, data in (
        *(("p/a.jpg", b"a"), ("p/in/b.png", b"b"), ("p/._a.jpg", b"hidden"), ("p/film.mp4", b"film")),
        ("t/1.tar", tarred(("x/a.jpg", b"1a"), ("x/a.png", b"label"), ("../up.jpg", b"no"))),
        *(("t/2.parquet", table(b"20", None)), ("t/3.parquet", table("in/c.jpg", "s3://photos/p/a.jpg", "lost.jpg"))),
        ("t/in/c.jpg", b"c"),
    ):
        bucket(key, data)
    found = search("s3://photos/p", recursive=True)
    assert read(found) == {"a.jpg": b"a", "in/b.png": b"b"}
    assert [path.name for path in found.passed_over] == ["film.mp4"]
    assert [one.photograph.path for one in found.found] == ["s3://photos/p/a.jpg", "s3://photos/p/in/b.png"]
    assert [one.photograph.file for one in found.found] == [None, None]
    assert read(search("s3://photos/p/*.jpg")) == {"a.jpg": b"a"}
    assert read(search("s3://photos/p/in/b.png")) == {"b.png": b"b"}
    first, up = search("s3://photos/t/1.tar").found
    assert (first.below, first.photograph.where, first.photograph.bytes()) == (
        *("1/x/a.jpg", "s3://photos/t/1.tar/x/a.jpg", b"1a"),
    )
    assert up.below.startswith("unnamed/")
    first, null = search("s3://photos/t/2.parquet").found
    assert (first.below, first.photograph.bytes()) == ("2/00000000", b"20")
    with pytest.raises(DatasetError, match=r"^s3://photos/t/2.parquet/00000001: no photograph in column 'image'"):
        null.photograph.bytes()
    first, second, lost = search("s3://photos/t/3.parquet").found
    assert [(one.below, one.photograph.bytes()) for one in (first, second)] == [("in/c.jpg", b"c"), ("a.jpg", b"a")]
    with pytest.raises(DatasetError, match=r"^s3://photos/t/lost.jpg: no such file, folder or bucket"):
        lost.photograph.bytes()
    assert {one.below.split("/")[0] for one in search("s3://photos/t/*").found} >= {"1", "2", "unnamed"}


@pytest.mark.parametrize("text", ["/etc/passwd", "../up.jpg", "file:///etc/passwd", "http://127.0.0.1:9/a.jpg"])
def test_a_table_elsewhere_does_not_lead_to_this_machine(text: str) -> None:
    fsspec.filesystem("memory").pipe("/tables/t.parquet", table("a.jpg", text))
    _, led = search("memory://tables/t.parquet").found
    with pytest.raises(DatasetError, match=r"^memory://tables/t.parquet: leads to .*; (put|name) .*$"):
        led.photograph.bytes()


def test_only_headers_of_a_tar_elsewhere_are_fetched(bucket: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    bucket("big.tar", tarred(*((f"{i}.jpg", bytes([i]) * 400_000) for i in range(8))))
    fetched, fetch = list[int](), s3fs.core._fetch_range

    def count(fs: object, bucket: str, key: str, version: object, start: int, end: int, **options: object) -> bytes:
        fetched.append(end - start)
        return fetch(fs, bucket, key, version, start, end, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(s3fs.core, "_fetch_range", count)
    found = search("s3://photos/big.tar")
    assert len(found.found) == 8
    assert 0 < sum(fetched) < 400_000
    assert found.found[5].photograph.bytes() == bytes([5]) * 400_000


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("memory://empty/", "memory://empty/: no "),
        ("memory://films/a.mp4", "memory://films/a.mp4: videos are read from this machine alone; copy it here"),
        ("memory://nothing.jpg", "memory://nothing.jpg: no such file, folder or bucket; correct the address"),
        ("memory://films/", "memory://films/: no photographs or videos in it (.jpg, "),
    ],
)
def test_places_elsewhere_without_photographs_are_told(place: str, problem: str) -> None:
    fsspec.filesystem("memory").pipe("/films/a.mp4", b"film")
    with pytest.raises(DatasetError) as caught:
        search(place)
    assert str(caught.value).startswith(problem)
