import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faceparse.core.errors import OutputError, SettingsError
from faceparse.core.runs.directory import RunDirectory
from faceparse.core.runs.tracking_record import Status, TrackingRecord, read_tracking, write_tracking
from faceparse.core.settings import load_settings
from tests.conftest import Tiny

Faceparse = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def directory(tiny: Tiny) -> Iterator[RunDirectory]:
    opened = RunDirectory.create(tiny())
    yield opened
    opened.close()


def test_settings_come_back_as_they_were(tiny: Tiny) -> None:
    settings = tiny(optim__lr=3e-4, data__mean="0.1,0.2,0.3", tracking__run_name="a 'name'", loss__edge=0)
    directory = RunDirectory.create(settings)
    assert load_settings(directory.path / "settings.toml") == settings
    directory.close()


def test_runs_without_a_place_of_their_own_get_one_each(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(train__run_dir=None, train__runs_dir=tmp_path / "runs", tracking__experiment="helen")
    found = [RunDirectory.create(settings) for _ in range(3)]
    assert len({directory.path for directory in found}) == 3
    for directory in found:
        assert directory.path.parent == tmp_path / "runs" / "helen"
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", directory.path.name)
        directory.close()


def test_a_second_process_is_refused_while_the_first_one_writes(directory: RunDirectory, faceparse: Faceparse) -> None:
    done = faceparse("train", "--resume", directory.path)
    message = "another process is writing to this run; wait for it, or choose another run directory"
    assert (done.returncode, done.stderr) == (2, f"error: {directory.path}: {message}\n")
    assert done.stdout == ""
    with pytest.raises(OutputError, match="another process is writing"):
        RunDirectory.reopen(directory.path)


def test_a_closed_directory_can_be_opened_again(directory: RunDirectory) -> None:
    directory.close()
    again = RunDirectory.reopen(directory.path)
    assert again.path == directory.path
    assert again.metrics() == []
    again.close()


def test_what_a_killed_process_left_half_written_goes(directory: RunDirectory) -> None:
    directory.close()
    leftovers = [directory.path / name for name in (".faceparse-x1y2.tmp", ".faceparse-abcd.tmp")]
    strange = directory.path / ".notes.tmp"
    for path in (*leftovers, strange):
        path.write_text("half")
    RunDirectory.reopen(directory.path).close()
    assert not any(path.exists() for path in leftovers)
    assert strange.exists()


def test_a_directory_with_a_run_in_it_is_not_started_anew(directory: RunDirectory, tiny: Tiny) -> None:
    before = (directory.path / "settings.toml").read_bytes()
    (directory.path / "last.pth").write_bytes(b"")
    directory.close()
    with pytest.raises(OutputError) as caught:
        RunDirectory.create(tiny(optim__lr=0.5))
    way = f"--resume {directory.path} (to a later end with --epochs)"
    expected = f"{directory.path}: already holds a run; go on with it by {way}, or choose another folder"
    assert str(caught.value) == expected
    assert (directory.path / "settings.toml").read_bytes() == before


def test_a_run_that_did_not_come_to_a_checkpoint_may_start_anew(directory: RunDirectory, tiny: Tiny) -> None:
    directory.record(1, {"train/loss": 2.0})
    directory.close()
    settings = tiny(optim__lr=0.5)
    again = RunDirectory.create(settings)
    assert again.metrics() == []
    assert load_settings(again.path / "settings.toml") == settings
    again.close()


@pytest.mark.parametrize(
    ("status", "lr", "same"),
    [("RUNNING", 1e-3, True), ("KILLED", 1e-3, True), ("FAILED", 1e-3, False), ("KILLED", 0.5, False)],
)
def test_a_run_that_was_stopped_at_once_begins_again_as_the_same_in_mlflow(
    tiny: Tiny, status: Status, lr: float, same: bool
) -> None:
    directory = RunDirectory.create(tiny(optim__lr=1e-3))
    tracking = TrackingRecord("sqlite:////x.db", "tests", "run", "key", 0.0, {}, {}, run_id="abc", status=status)
    write_tracking(directory.path, tracking)
    directory.close()
    again = RunDirectory.create(tiny(optim__lr=lr))
    assert read_tracking(again.path) == (tracking if same else None)
    again.close()


def test_a_damaged_tracking_file_does_not_keep_a_run_from_starting_anew(directory: RunDirectory, tiny: Tiny) -> None:
    (directory.path / "tracking.json").write_text("{")
    directory.close()
    RunDirectory.create(tiny()).close()
    assert not (directory.path / "tracking.json").exists()


def test_a_folder_that_is_no_run_cannot_be_reopened(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        RunDirectory.reopen(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: not a run directory (no settings.toml in it); one is runs/")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_named(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match=f"^cannot write {re.escape(str(tmp_path / 'run'))}: "):
        RunDirectory.create(tiny())
    assert (tmp_path / "run").read_text() == "mine"


def test_each_record_is_one_line_that_is_there_at_once(directory: RunDirectory) -> None:
    for epoch in (1, 2):
        directory.record(epoch, {"train/loss": 1 / epoch, "val/miou": 0.25})
        assert len((directory.path / "metrics.jsonl").read_text().splitlines()) == epoch
    found = [(line["epoch"], line["metrics"]) for line in directory.metrics()]
    assert found == [(1, {"train/loss": 1.0, "val/miou": 0.25}), (2, {"train/loss": 0.5, "val/miou": 0.25})]


def test_epochs_that_will_be_trained_again_are_forgotten(directory: RunDirectory) -> None:
    for epoch in (1, 2, 3):
        directory.record(epoch, {"train/loss": 1.0})
    with (directory.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "metr')  # killed while writing
    kept = directory.metrics()[:2]
    directory.forget_after(2)
    assert directory.metrics() == kept
    directory.record(3, {"train/loss": 0.5})
    assert [line["epoch"] for line in directory.metrics()] == [1, 2, 3]


@pytest.mark.parametrize("damage", [b'{"epoch": -1}', b"\xff", b"[]", b'{"epoch": 1, "time": 2, "metrics": {"a": []}}'])
def test_a_damaged_record_is_named_with_its_line(directory: RunDirectory, damage: bytes) -> None:
    directory.record(1, {"train/loss": float("nan")})
    assert len(directory.metrics()) == 1
    with (directory.path / "metrics.jsonl").open("ab") as file:
        file.write(damage + b"\n")
    with pytest.raises(
        SettingsError, match=r"metrics.jsonl:2: damaged \(.*\); delete the line, whose points are lost$"
    ):
        directory.metrics()


def test_nothing_is_forgotten_where_nothing_was_recorded(directory: RunDirectory) -> None:
    directory.forget_after(3)
    assert directory.metrics() == []


def test_log_lines_have_their_time(directory: RunDirectory) -> None:
    directory.log("one")
    directory.log("two")
    lines = (directory.path / "train.log").read_text().splitlines()
    assert [line[20:] for line in lines] == ["one", "two"]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)


def test_a_log_that_cannot_be_written_is_named(directory: RunDirectory) -> None:
    (directory.path / "train.log").mkdir()
    with pytest.raises(OutputError, match=r"^cannot write .*train\.log: Is a directory; free space"):
        directory.log("one")


@pytest.mark.parametrize("name", [".lock", "metrics.jsonl", "train.log", "last.pth"])
def test_a_run_whose_files_are_links_to_elsewhere_is_not_gone_on_with(
    directory: RunDirectory, tmp_path: Path, name: str
) -> None:
    """A stranger's run may hold links to anything; the lock alone would empty what it leads to."""
    directory.close()
    (tmp_path / "mine").write_text("mine")
    (directory.path / name).unlink(missing_ok=True)
    (directory.path / name).symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError, match=rf"{name}: a link leads to "):
        RunDirectory.reopen(directory.path)
    assert (tmp_path / "mine").read_text() == "mine"
