import os
import pickle
import sys
import tarfile
from pathlib import Path

import fsspec
import pytest

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.photograph import Given
from faceparse.core.prediction.inputs import Inputs, Source, gather, read_list


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Empty files: nothing is opened here."""
    root = tmp_path / "album"
    for name in (
        "b.jpg",
        "a.PNG",
        "film.MP4",
        "notes.txt",
        "._b.jpg",
        "sub/c.jpg",
        "sub/deep/d.webp",
        "out/labels/old.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(typed: list[str], *, recursive: bool = False, out: Path = Path("predictions")) -> Inputs:
    return gather(typed, out, recursive=recursive, stdin=lambda: b"bytes")


def names(inputs: Inputs) -> list[str]:
    return [source.name for source in inputs.photographs]


def test_a_folder_gives_what_lies_in_it_and_no_hidden_files(album: Path) -> None:
    inputs = found([str(album)])
    assert [(source.where, source.name) for source in inputs.photographs] == [
        (str(album / "a.PNG"), "a"),
        (str(album / "b.jpg"), "b"),
    ]
    assert [(source.where, source.name) for source in inputs.videos] == [(str(album / "film.MP4"), "film")]


def test_folders_within_folders_stay_in_the_names_and_outputs_are_no_inputs(album: Path) -> None:
    assert names(found([str(album)], recursive=True)) == ["a", "b", "out/labels/old", "sub/c", "sub/deep/d"]
    assert names(found([str(album)], recursive=True, out=album / "out")) == ["a", "b", "sub/c", "sub/deep/d"]
    assert names(found([str(album / "sub")], out=album)) == ["c"]
    (album / "out/webdataset").mkdir()
    (album / "out/webdataset/part-0123456789abcdef.tar").touch()  # it would be refused as damaged
    assert names(found([str(album)], recursive=True, out=album / "out")) == ["a", "b", "sub/c", "sub/deep/d"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b"]),
        ("*.png", ["a"]),
        ("*.JPG", ["b"]),
        ("*", ["a", "b"]),
        ("**/*.jpg", ["b", "sub/c"]),
        ("su[abc]/*", ["sub/c"]),
        ("sub/**/d.*", ["deep/d"]),
    ],
)
def test_patterns_name_relative_to_what_is_fixed_in_them(album: Path, pattern: str, expected: list[str]) -> None:
    assert names(found([str(album / pattern)])) == expected


def test_what_is_passed_over_in_folders_is_kept_in_mind(album: Path) -> None:
    assert found([str(album)]).passed_over == [album / "notes.txt"]
    assert found([str(album), str(album)], recursive=True).passed_over == [album / "notes.txt"]
    assert found([str(album / "b.jpg")]).passed_over == []


@pytest.mark.parametrize("suffix", ["jpe", "JFIF", "gif", "JP2", "ppm", "pgm", "Avif", "HEIC"])
def test_a_phones_photographs_are_found_whatever_their_letters(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").touch()
    assert names(found([str(tmp_path)])) == ["a"]


def test_a_folder_of_other_files_says_what_is_there(tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.psd").touch()
    with pytest.raises(DatasetError, match=r", but 7 others: 0.psd, 1.psd, 2.psd, 3.psd, 4.psd and 2 more; --rec"):
        found([str(tmp_path)])


def test_inputs_are_taken_once_in_the_order_they_were_typed(album: Path) -> None:
    inputs = found(["webcam:1", str(album / "b.jpg"), str(album), str(album / "b.jpg"), "-", "-"])
    assert names(inputs) == ["stdin", "b", "a"]
    assert inputs.cameras == [1]
    assert inputs.photographs[0].bytes() == b"bytes"


def test_one_stem_with_two_suffixes_keeps_both(album: Path) -> None:
    (album / "film.jpg").touch()
    inputs = found([str(album)])
    assert names(inputs) == ["a", "b", "film_jpg"]
    assert [source.name for source in inputs.videos] == ["film_MP4"]


def test_two_inputs_of_one_name_are_refused(album: Path) -> None:
    (album / "sub" / "b.jpg").touch()
    with pytest.raises(DatasetError) as caught:
        found([str(album), str(album / "sub")])
    expected = (
        "two inputs would both be written as 'b_jpg'; give the folder of both with --recursive, or run predict once "
        "per folder, each with its own --output"
    )
    assert str(caught.value) == expected
    for name in ("c.jpg", "c.png", "c_jpg.png"):
        (album / "sub" / name).touch()
    with pytest.raises(DatasetError, match=r"be written as 'c_jpg' \(c\.jpg and c_jpg\.png; rename one\); give"):
        found([str(album / "sub")])


@pytest.mark.parametrize(
    ("typed", "recursive", "expected"),
    [
        ("nothing.jpg", False, "nothing.jpg: no such photograph, video or folder"),
        ("empty", False, "empty: no photographs or videos in it (.jpg, "),
        ("empty", True, "empty: no photographs or videos in it (.jpg, "),
        ("*.jpg", False, "*.jpg: no photographs or videos in it (.jpg, "),
    ],
)
def test_what_is_not_there_is_named(typed: str, recursive: bool, expected: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(DatasetError) as caught:
        found([typed], recursive=recursive)
    assert str(caught.value).startswith(expected)
    assert ("--recursive" in str(caught.value)) == (typed == "empty" and not recursive)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_has_one_input_a_line(encoding: str) -> None:
    Path("folder").mkdir()
    Path("a b.jpg").touch()
    Path("ö.png").touch()
    assert read_list("a b.jpg\n\nfolder\r\nö.png \nwebcam:0\n-".encode(encoding)) == [
        *("a b.jpg", "folder", "ö.png", "webcam:0", "-")
    ]


def test_names_need_not_be_utf8() -> None:
    name = os.fsdecode(b"\xff.jpg")
    Path(name).touch()
    assert read_list(b"\xff.jpg\n") == [name]
    assert names(found([name])) == [os.fsdecode(b"\xff")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gone.jpg", "list:2: gone.jpg: no such photograph, video or folder; fix the list"),
        ("a\\b.jpg", "list:2: a\\b.jpg: no such photograph, video or folder; write / between folders and names"),
        ("x" * 300, "is too long for a path; choose a shorter name"),
        ("a\0b", "holds a NUL byte, which no path can; write it without"),
        ("broken", "list:2: broken is a broken link to nowhere; fix the link"),
    ],
)
def test_a_line_that_names_nothing_is_told(line: str, expected: str) -> None:
    Path("broken").symlink_to("nowhere")
    with pytest.raises(DatasetError) as caught:
        read_list(f"-\n{line}\n".encode())
    assert str(caught.value).startswith("list:2: ")
    assert str(caught.value).endswith(expected)


def test_a_name_too_long_for_its_outputs_is_shortened(album: Path) -> None:
    for first in "xy":
        (album / f"{first}{'ä' * 125}.jpg").touch()
    short = [name for name in names(found([str(album)])) if "ä" in name]
    assert len(set(short)) == 2
    assert all(len(f"{name}.json".encode()) <= 255 for name in short)


def test_folders_that_are_linked_are_searched_once(album: Path) -> None:
    (album / "sub" / "up").symlink_to(album)
    assert names(found([str(album)], recursive=True)) == ["a", "b", "out/labels/old", "sub/c", "sub/deep/d"]


def test_a_camera_that_no_machine_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="^webcam:99999.*: no such camera"):
        gather([f"webcam:{'9' * 20}"], tmp_path, recursive=False, stdin=bytes)


def test_a_film_has_the_folder_of_its_frames_for_itself(tmp_path: Path) -> None:
    """A photograph `clip/000000.png` and the first frame of `clip.mp4` would be written as the same."""
    for name in ("clip.mp4", "clip/000000.png", "other.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    inputs = found([str(tmp_path)], recursive=True)
    assert names(inputs) == ["clip/000000"]
    assert [source.name for source in inputs.videos] == ["clip_mp4", "other"]


def test_a_photograph_in_a_folder_called_like_a_camera_is_refused(tmp_path: Path) -> None:
    (tmp_path / "webcam-0").mkdir()
    (tmp_path / "webcam-0" / "000000.png").touch()
    with pytest.raises(DatasetError, match="two inputs would both be written as 'webcam-0/000000'"):
        found([str(tmp_path), "webcam:0"], recursive=True)


def test_inputs_of_all_kinds_have_names_and_can_be_sent_to_other_processes(album: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(album / "b.jpg", "in/b.jpg")
    fsspec.filesystem("memory").pipe("/inputs/c.jpg", b"c")
    inputs = found([str(album / "b.jpg"), str(tmp_path / "t.tar"), "memory://inputs/c.jpg", "-"])
    assert names(inputs) == ["stdin", "b", "t/in/b", "c"]
    assert [source.below for source in inputs.photographs] == ["stdin", "b.jpg", "t/in/b.jpg", "c.jpg"]
    for source in inputs.photographs:
        sent = pickle.loads(pickle.dumps(source))
        assert sent == source
        assert (sent.bytes(), sent.stamp, sent.path) == (source.bytes(), source.stamp, source.path)
        assert len(pickle.dumps(source)) < 600
        assert not hasattr(source, "__dict__")  # a million of them fit in memory
    assert sys.getsizeof(Source("a.jpg", "a", content=Given(b""))) < 100


def test_one_name_in_a_folder_a_tar_and_elsewhere_is_refused(album: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "sub.tar", "w") as tar:
        tar.add(album / "b.jpg", "c.jpg")
    fsspec.filesystem("memory").pipe("/names/sub/c.jpg", b"c")
    for typed in ([str(tmp_path / "sub.tar"), str(album)], [str(album), "memory://names"]):
        with pytest.raises(DatasetError, match="two inputs would both be written as 'sub/c"):
            found(typed, recursive=True)


def test_a_suffix_stays_in_a_tar_too(album: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for name in ("a.jpg", "a.webp"):
            tar.add(album / "b.jpg", name)
    assert names(found([str(tmp_path / "t.tar")])) == ["t/a_jpg", "t/a_webp"]


def test_a_column_without_a_table_is_refused(album: Path) -> None:
    with pytest.raises(SettingsError, match="^--column is for Parquet files, and there are none among the inputs$"):
        gather([str(album)], Path("out"), recursive=False, stdin=bytes, column="photo")


def test_a_list_may_name_places_elsewhere() -> None:
    Path("a.jpg").touch()
    here = Path("a.jpg").absolute().as_uri()
    assert read_list(f"s3://bucket/a b.jpg\n{here}\n".encode()) == ["s3://bucket/a b.jpg", here]
    with pytest.raises(DatasetError, match=r"^list:1: /gone.jpg: no such photograph, video or folder; fix the list$"):
        read_list(b"file:///gone.jpg")
