"""Files are written whole or not at all."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from faceparse.core.errors import OutputError
from faceparse.core.files.writing import (
    make_folder,
    refuse_other_files,
    write_atomic,
    write_atomic_with,
    write_files_with,
    write_folder_with,
)


def placed(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def test_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.bin"
    for content in (b"first", b"second, longer", b""):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in path.parent.iterdir()] == ["a.bin"]


def test_files_that_belong_together_are_put_in_place_together(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.xml"
    for content in (b"first", b"second"):

        def fill(place: Path, content: bytes = content) -> None:
            place.write_bytes(content)
            place.with_suffix(".bin").write_bytes(content + b" bin")

        write_files_with(path, fill)
        assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == {
            "a.xml": content,
            "a.bin": content + b" bin",
        }


def test_the_file_that_names_the_others_comes_last(tmp_path: Path) -> None:
    """Where one of the others cannot be put in place, it still is the old one."""
    path = placed(b"old", tmp_path / "a.xml")
    (tmp_path / "a.bin").mkdir()

    def fill(place: Path) -> None:
        place.write_bytes(b"new")
        place.with_suffix(".bin").write_bytes(b"new")

    with pytest.raises(OutputError, match="cannot write"):
        write_files_with(path, fill)
    assert path.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bin", "a.xml"]


def test_files_of_which_one_fails_leave_the_old_ones_alone(tmp_path: Path) -> None:
    path = placed(b"old", tmp_path / "a.xml")

    def fail(place: Path) -> None:
        place.with_suffix(".bin").write_bytes(b"new")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        write_files_with(path, fail)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a.xml", b"old")]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no"), KeyboardInterrupt()])
def test_a_writer_that_fails_half_way_leaves_the_old_content_alone(tmp_path: Path, error: BaseException) -> None:
    path = placed(b"old", tmp_path / "a.bin")

    def fail(temporary: BinaryIO) -> None:
        temporary.write(b"half")
        assert Path(temporary.name).parent == tmp_path  # the same file system, or it could not be renamed
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write_atomic_with(path, fail)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    def fail(temporary: BinaryIO) -> None:
        raise OSError(28, "No space left on device", temporary.name)

    with pytest.raises(OutputError) as caught:
        write_atomic_with(tmp_path / "a.bin", fail)
    assert str(caught.value) == (
        f"cannot write {tmp_path / 'a.bin'}: No space left on device; free space or choose another place"
    )


WRITE_UNDER_A_LIMIT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from faceparse.core.errors import OutputError
from faceparse.core.files.writing import write_atomic
from faceparse.core.images.palette import write_palette_png

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
writers = {
    "bytes": lambda: write_atomic(path, noise.tobytes()),
    "picture": lambda: write_palette_png(path, noise, np.zeros((256, 3), np.uint8)),
}
try:
    writers[sys.argv[2]]()
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["bytes", "picture"])
def test_a_real_limit_on_file_size_leaves_the_old_content_alone(tmp_path: Path, what: str) -> None:
    path = placed(b"old", tmp_path / "a.png")
    command = [sys.executable, "-c", WRITE_UNDER_A_LIMIT, str(path), what]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout == f"cannot write {path}: File too large; free space or choose another place\n"
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "socket", "loop"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.json"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "loop":
        path.symlink_to(path)
    else:
        os.mkfifo(tmp_path / "pipe" if kind.startswith("link") else path)
    if kind.startswith("link"):
        path.symlink_to("pipe")
    before = sorted((file.name, file.lstat().st_mode) for file in tmp_path.iterdir())
    expected = f"^cannot write {path}: it is no regular file; choose another place$"
    if kind == "loop":
        expected = f"^cannot write '{path}' is a link that leads back to itself; fix the link$"
    with pytest.raises(OutputError, match=expected):
        write_atomic(path, b"new")
    assert sorted((file.name, file.lstat().st_mode) for file in tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="there is no such device here")
def test_a_device_stays_a_device() -> None:
    with pytest.raises(OutputError, match=r"^cannot write /dev/null: it is no regular file"):
        write_atomic(Path("/dev/null"), b"new")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("there", [True, False])
def test_what_a_link_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "deep" / "target.json", tmp_path / "link.json"
    if there:
        target.parent.mkdir()
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_linked_folder_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    (target / "old").touch()
    link.symlink_to(target)
    write_folder_with(link, lambda folder: (folder / "new").touch())
    assert link.is_symlink()
    assert [file.name for file in target.iterdir()] == ["new"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link", "target"]


def test_the_longest_name_that_a_file_may_have_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_file_where_a_folder_must_be_is_told(tmp_path: Path) -> None:
    blocked = placed(b"", tmp_path / "file") / "a.bin"
    with pytest.raises(OutputError, match=r"^cannot write .*a\.bin: Not a directory; choose another place$"):
        write_atomic(blocked, b"x")


def test_a_folder_in_the_files_place_stays(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.bin"):
        write_atomic(tmp_path / "a.bin", b"x")
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_files_are_as_readable_for_others_as_any(tmp_path: Path) -> None:
    usual = placed(b"", tmp_path / "usual")
    write_atomic(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == usual.stat().st_mode


def test_make_folder_makes_parents_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "own").mkdir()
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    for path in (tmp_path / "a" / "b", tmp_path / "own"):
        with pytest.raises(OutputError, match="No space left on device"):
            make_folder(path)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_make_folder_refuses_where_a_file_stands(tmp_path: Path) -> None:
    placed(b"", tmp_path / "a")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="exists; choose another place|directory; choose another place"):
            make_folder(path)


def test_a_folder_with_other_files_is_not_given_up(tmp_path: Path) -> None:
    refuse_other_files(tmp_path / "new", ())
    (tmp_path / "a").touch()
    refuse_other_files(tmp_path, {"a", "b"})
    (tmp_path / "letter.txt").touch()
    with pytest.raises(OutputError, match=r"it holds other files \(letter\.txt\); name a new folder"):
        refuse_other_files(tmp_path, {"a", "b"})
