import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faceparse.core.files.leftovers import remove_leftovers
from faceparse.core.files.writing import write_atomic, write_folder_with

HALF = """
import sys, time
from pathlib import Path
from faceparse.core.files.writing import atomic_file, write_folder_with
place = Path(sys.argv[1])
def fill(folder):
    (folder / "a").write_text("half")
    print("begun", flush=True)
    time.sleep(60)
if sys.argv[2] == "folder":
    write_folder_with(place, fill)
with atomic_file(place) as file:
    file.write(b"half")
    print("begun", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["file", "folder"])
def writer(request: pytest.FixtureRequest, tmp_path: Path) -> "subprocess.Popen[str]":
    """A process that has begun to write `out/place`."""
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, str(tmp_path / "out" / "place"), request.param], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_what_a_killed_process_left_goes_with_the_next_write(
    writer: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    half = names(out)
    write_atomic(out / "other", b"")  # whose process lives keeps what it writes
    remove_leftovers(out)
    assert names(out) == sorted([*half, "other"])
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert set(half) <= set(names(out))
    monkeypatch.setattr("faceparse.core.files.leftovers._SEEN", set())  # as another process has it
    write_atomic(out / "other", b"")
    assert names(out) == ["other"]


BUSY = """
import sys
from pathlib import Path
from faceparse.core.files.writing import write_atomic, write_folder_with
from faceparse.core.files.leftovers import remove_leftovers
out, name = Path(sys.argv[1]), sys.argv[2]
for number in range(400):
    if name == "remover":
        remove_leftovers(out)
    elif number % 10:
        write_atomic(out / f"{name}-{number}", b"whole")
    else:
        write_folder_with(out / f"{name}-{number}", lambda new: (new / "a").write_text("whole") and None)
"""


def test_what_is_being_made_is_never_taken_for_a_leftover(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", BUSY, str(tmp_path), name], stderr=subprocess.PIPE, text=True)
        for name in ("a", "b", "remover", "remover")
    ]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [("", 0)] * 4
    assert names(tmp_path) == sorted(f"{name}-{number}" for name in "ab" for number in range(400))


def test_what_was_put_aside_comes_back(tmp_path: Path) -> None:
    """A process was killed between the two renames."""
    old = tmp_path / ".faceparse-0123.old"
    (old / "report").mkdir(parents=True)
    (old / "report" / "a").write_text("old")
    (tmp_path / ".faceparse-4567.tmp").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report" / "a").read_text() == "old"


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path) -> None:
    write_folder_with(tmp_path / "report", lambda new: (new / "a").write_text("old") and None)

    def fill(new: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder_with(tmp_path / "report", fill)
    assert names(tmp_path) == ["report"]
    assert (tmp_path / "report" / "a").read_text() == "old"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    (tmp_path / ".faceparse-0123.tmp").symlink_to(tmp_path / "kept")
    remove_leftovers(tmp_path)
    assert (tmp_path / "kept").read_text() == "kept"
