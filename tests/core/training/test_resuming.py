"""Runs that go on where they were stopped, killed or finished."""

import dataclasses
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.settings import Settings, flatten
from faceparse.core.training.run import RunResult, resume, train
from tests.conftest import Tiny
from tests.core.training.recorded import Watcher, assert_same, comparable, last, logged, points, stopped


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    reference: RunResult, make: Callable[..., Settings], store: str
) -> None:
    settings = make(train__epochs=3)
    run_dir = settings.train.run_dir
    assert run_dir is not None
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=1))
    run_id = read_checkpoint(run_dir / "last.pth").run_id
    assert logged(store, run_id).info.status == "KILLED"
    watcher = Watcher()
    result = resume(run_dir, watcher)
    assert [epoch for epoch, *_ in watcher.epochs] == [2, 3]

    assert_same(last(run_dir), last(reference.run_dir))
    assert comparable(run_dir) == comparable(reference.run_dir)
    assert (result.best_epoch, result.best_score) == (reference.best_epoch, reference.best_score)
    assert_same(dict(read_checkpoint(result.best).weights), dict(read_checkpoint(reference.best).weights))

    assert result.run_id == run_id != reference.run_id
    assert logged(store, run_id).info.status == "FINISHED"
    for name in ("train/loss", "train/lr", "val/f1_mean", "val/iou/nose"):
        assert points(store, run_id, name) == points(store, reference.run_id, name)


def test_a_killed_process_can_be_resumed(reference: RunResult, make: Callable[..., Settings]) -> None:
    settings = make(train__epochs=3, tracking__enabled=False)
    run_dir = settings.train.run_dir
    assert run_dir is not None
    options = [part for key, value in flatten(settings).items() for part in ("--set", f"{key}={_typed(value)}")]
    process = subprocess.Popen([sys.executable, "-m", "faceparse.cli", "train", *options], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (run_dir / "last.pth").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert (run_dir / "last.pth").exists(), errors.decode()
    resume(run_dir, Watcher())
    assert_same(last(run_dir)["training"]["best"], last(reference.run_dir)["training"]["best"])
    assert [epoch for epoch, _ in comparable(run_dir)] == [1, 2, 3]
    # The process may have computed with another number of threads: equal but for rounding.
    found, expected = comparable(run_dir)[-1][1], comparable(reference.run_dir)[-1][1]
    assert found["train/lr"] == expected["train/lr"]
    assert found["train/loss"] == pytest.approx(expected["train/loss"], rel=0.02)


def _typed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def test_epochs_that_were_not_kept_are_recorded_once(tiny: Tiny) -> None:
    settings = tiny(train__epochs=4, train__evaluate_every=2, tracking__enabled=False)
    with pytest.raises(KeyboardInterrupt):
        train(settings, Watcher(stop_after=3))
    assert settings.train.run_dir is not None
    assert [epoch for epoch, _ in comparable(settings.train.run_dir)] == [1, 2, 3]
    watcher = Watcher()
    resume(settings.train.run_dir, watcher)
    assert [epoch for epoch, *_ in watcher.epochs] == [3, 4]
    lines = comparable(settings.train.run_dir)
    assert [epoch for epoch, _ in lines] == [1, 2, 3, 4]
    assert ["val/f1_mean" in metrics for _, metrics in lines] == [False, True, False, True]


def test_resuming_a_finished_run_changes_nothing(trained: RunResult, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(trained.run_dir, tmp_path / "copy"))
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    watcher = Watcher()
    result = resume(copied, watcher)
    assert watcher.messages == [
        f"{copied} is finished, all 1 epochs; nothing is left to train. To train on to epoch N, where the learning "
        f"rate then ends: --resume {copied} --epochs N. Or a new run starts from its weights: --restore-from "
        f"{copied / 'last.pth'} --epochs N"
    ]
    assert dataclasses.replace(result, run_dir=trained.run_dir, best=trained.best) == trained
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_a_dataset_that_has_changed_is_told_on_resume(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    run_dir = stopped(tiny(data__root=data, train__epochs=2, tracking__enabled=False))
    lines = (data / "val_list.txt").read_text().splitlines(keepends=True)
    (data / "val_list.txt").write_text("".join(lines[1:]))
    watcher = Watcher()
    resume(run_dir, watcher)
    (warning,) = watcher.warnings
    assert warning.startswith(f"{data}: photographs of val have changed since the run began; it goes on with what is")


def test_label_sets_in_another_order_are_refused_on_resume(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    run_dir = stopped(tiny(data__root=data, train__epochs=2, tracking__enabled=False))
    text = (data / "label_set.toml").read_text()
    (skin,) = re.findall(r"^skin = .*\n", text, re.MULTILINE)
    (data / "label_set.toml").write_text(re.sub(r"(?m)^(hair = .*\n)", r"\1" + skin, text.replace(skin, "", 1)))
    with pytest.raises(CheckpointError, match="its label set is no longer that of"):
        resume(run_dir, Watcher())


def test_a_best_checkpoint_of_another_run_is_replaced(tiny: Tiny, trained: RunResult) -> None:
    run_dir = stopped(tiny(train__epochs=2, tracking__enabled=False))
    shutil.copyfile(trained.best, run_dir / "best.pth")
    watcher = Watcher()
    result = resume(run_dir, watcher)
    (warning,) = watcher.warnings
    assert warning.startswith(f"{run_dir / 'best.pth'}: is not the best of this run, which is of epoch 1; the next")
    assert result.best_epoch == 2
    assert read_checkpoint(run_dir / "best.pth").epoch == 2


def test_photographs_of_val_that_are_trained_on_are_told(tiny: Tiny, faces: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(faces, tmp_path / "data"))
    shutil.copyfile(data / "train_list.txt", data / "val_list.txt")
    watcher = Watcher()
    run_dir = tiny(data__root=data, train__epochs=1, tracking__enabled=False).train.run_dir
    train(tiny(data__root=data, train__epochs=1, tracking__enabled=False), watcher)
    assert run_dir is not None
    assert any(
        "photographs are trained on, too: scores on them say nothing of new" in line for line in watcher.messages
    )


def test_an_edited_settings_file_is_refused_on_resume(trained: RunResult, tmp_path: Path) -> None:
    """But for where the run runs, which is the file's to say."""
    copied = Path(shutil.copytree(trained.run_dir, tmp_path / "copied"))
    file = copied / "settings.toml"
    content = file.read_text()
    file.write_text(content.replace("processes = 1", "processes = 2"))
    assert resume(copied, Watcher()).best_epoch == trained.best_epoch
    edited = content.replace("epochs = 1\n", "epochs = 5\n").replace("[speed]", "[speed]\ncompile = true")
    file.write_text(edited.replace("compile = false\n", ""))
    with pytest.raises(SettingsError) as caught:
        resume(copied, Watcher())
    keys = "train.epochs = 5 (was 1), speed.compile = True (was False)"
    assert str(caught.value) == (
        f"{file}: was edited, and a run goes on with the settings that it began with: {keys}; put these back, or begin "
        f"another run: faceparse train {file} --snapshot-dir NEW_FOLDER"
    )
    file.write_text(content)
    resume(copied, Watcher())


def test_what_cannot_be_resumed_says_so(trained: RunResult, tmp_path: Path) -> None:
    copied = shutil.copytree(trained.run_dir, tmp_path / "copy")
    shutil.copy(copied / "best.pth", copied / "last.pth")
    with pytest.raises(CheckpointError, match=r"last\.pth: holds no training state, .*; put previous\.pth in"):
        resume(copied, Watcher())
    (copied / "last.pth").unlink()
    with pytest.raises(CheckpointError, match=r"last\.pth: no such checkpoint; the run was stopped before its first"):
        resume(copied, Watcher())
