import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from faceparse.core.errors import CheckpointError, OutputError
from faceparse.core.runs.directory import BEST, LAST, PREVIOUS
from faceparse.core.training.run import RunResult
from faceparse.core.training.run_checkpoints import read_last, save, save_last


def content(epoch: int, size: int = 1000) -> dict[str, object]:
    return {"epoch": epoch, "model": {"weight": torch.full((size,), float(epoch))}, "training": {"step": epoch}}


def epoch_of(path: Path) -> int:
    loaded = torch.load(path, weights_only=True)
    assert set(loaded["model"]["weight"].tolist()) == {float(loaded["epoch"])}
    return int(loaded["epoch"])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run_python(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    save(tmp_path / "new" / "folder" / BEST, content(4))
    assert epoch_of(tmp_path / "new" / "folder" / BEST) == 4
    assert names(tmp_path / "new" / "folder") == {BEST}


def test_the_newest_and_one_older_are_kept(tmp_path: Path) -> None:
    save_last(tmp_path, content(1))
    assert names(tmp_path) == {LAST}
    for epoch in (2, 3, 4):
        save_last(tmp_path, content(epoch))
        assert (epoch_of(tmp_path / PREVIOUS), epoch_of(tmp_path / LAST)) == (epoch - 1, epoch)
        assert names(tmp_path) == {LAST, PREVIOUS}


def test_the_older_one_is_not_the_newest_under_another_name(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_last(tmp_path, content(epoch))
    assert not (tmp_path / LAST).samefile(tmp_path / PREVIOUS)


def test_a_leftover_of_a_killed_process_is_not_in_the_way(tmp_path: Path) -> None:
    save_last(tmp_path, content(1))
    os.link(tmp_path / LAST, tmp_path / f".{PREVIOUS}.link")
    save_last(tmp_path, content(2))
    assert (epoch_of(tmp_path / PREVIOUS), epoch_of(tmp_path / LAST)) == (1, 2)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from faceparse.core.errors import OutputError
from faceparse.core.training.run_checkpoints import save, save_last

folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for write in (lambda big: save(folder / "best.pth", big), lambda big: save_last(folder, big)):
    try:
        write({"epoch": 2, "model": {f"{i}": torch.ones(20_000) for i in range(5)}})
    except OutputError as error:
        print(error)
"""


def test_a_full_disk_leaves_the_last_good_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    save(tmp_path / BEST, content(1))
    for epoch in (0, 1):
        save_last(tmp_path, content(epoch))
    done = run_python(FULL_DISK, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        f"cannot write {tmp_path / BEST}",
        f"cannot write {tmp_path / LAST}",
    ]
    assert all(line.endswith("; free space or choose another place") for line in lines)
    assert [epoch_of(tmp_path / name) for name in (BEST, LAST, PREVIOUS)] == [1, 1, 0]
    assert names(tmp_path) == {BEST, LAST, PREVIOUS}


KILLED = """
import io, os, signal, sys
from pathlib import Path
import torch
from faceparse.core.training import run_checkpoints

write = torch.save

def half(content, file):
    whole = io.BytesIO()
    write(content, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

torch.save = half
run_checkpoints.save_last(Path(sys.argv[1]), {"epoch": 3, "model": {"weight": torch.full((1000,), 3.0)}})
"""


def test_a_kill_in_the_middle_of_a_save_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_last(tmp_path, content(epoch))
    assert run_python(KILLED, tmp_path).returncode == -signal.SIGKILL
    assert (epoch_of(tmp_path / PREVIOUS), epoch_of(tmp_path / LAST)) == (1, 2)
    save_last(tmp_path, content(3))
    assert (epoch_of(tmp_path / PREVIOUS), epoch_of(tmp_path / LAST)) == (2, 3)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        save(tmp_path / "file" / BEST, content(1))
    expected = f"cannot write {tmp_path / 'file' / BEST}: File exists; choose another place"
    assert str(caught.value) in (expected, expected.replace("File exists", "Not a directory"))


@pytest.fixture
def real(trained: RunResult) -> dict[str, Any]:
    """The content of a real last.pth."""
    return torch.load(trained.run_dir / LAST, weights_only=True)  # type: ignore[no-any-return]


def test_the_newest_checkpoint_is_what_a_run_goes_on_from(tmp_path: Path, real: dict[str, Any]) -> None:
    for epoch in (4, 5):
        save_last(tmp_path, real | {"epoch": epoch})
    found = read_last(tmp_path, warn=pytest.fail)
    assert (found.epoch, found.path) == (5, tmp_path / LAST)
    assert found.training is not None
    assert found.training.keys() == {"trainer", "best", "listing", "update_size"}


@pytest.mark.parametrize("damage", ["truncated", "missing", "without training state"])
def test_an_older_checkpoint_stands_in_for_a_broken_one(tmp_path: Path, real: dict[str, Any], damage: str) -> None:
    for epoch in (4, 5):
        save_last(tmp_path, real | {"epoch": epoch})
    if damage == "truncated":
        (tmp_path / LAST).write_bytes((tmp_path / LAST).read_bytes()[:5000])
    elif damage == "missing":
        (tmp_path / LAST).unlink()
    else:
        save(tmp_path / LAST, {key: value for key, value in real.items() if key != "training"})
    warnings: list[str] = []
    assert read_last(tmp_path, warn=warnings.append).epoch == 4
    (warning,) = warnings
    assert warning.startswith(f"{tmp_path / LAST}: ")
    assert warning.endswith("; going on from the older previous.pth")
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(CheckpointError):
        read_last(tmp_path, warn=pytest.fail)


def test_a_run_without_a_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_last(tmp_path, warn=pytest.fail)
    expected = "no such checkpoint; the run was stopped before its first, start it anew: faceparse train"
    assert str(caught.value) == f"{tmp_path / LAST}: {expected} {tmp_path}/settings.toml"
