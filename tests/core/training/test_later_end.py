"""Training that goes on to a later end."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.settings import Settings, load_settings
from faceparse.core.training.recorder import Recorder
from faceparse.core.training.run import RunResult, resume, train
from tests.conftest import Tiny
from tests.core.training.recorded import Watcher, assert_same, comparable, last, logged, points, recorded, stopped
from tests.core.training.scripted import PATIENT, script


@pytest.fixture(scope="module")
def short(make: Callable[..., Settings]) -> Path:
    """A finished run of two epochs. Not to be written to."""
    return train(make(train__epochs=2, tracking__enabled=False), Watcher()).run_dir


def rates(run_dir: Path) -> list[float]:
    """Learning rate of each epoch's last iteration."""
    return [metrics["train/lr"] for _, metrics in comparable(run_dir)]


def test_a_finished_run_goes_on_to_a_later_end(short: Path, tmp_path: Path) -> None:
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))
    watcher = Watcher()
    result = resume(run_dir, watcher, epochs=4)
    assert [epoch for epoch, *_ in watcher.epochs] == [3, 4]
    base = load_settings(run_dir / "settings.toml").optim.lr
    now, before = base * (1 - 6 / 12) ** 0.9, 0.0
    assert (
        f"trains to epoch 4 instead of 2: the learning rate is {now:.3g} (it was {before:.3g}) and falls to 0 there"
    ) in watcher.messages
    assert watcher.warnings == []
    # Iteration 3 of 6 was the first epoch's last but one; from the third epoch on they are counted out of 12.
    old = [base * (1 - i / 6) ** 0.9 for i in (2, 5)]
    assert rates(run_dir) == pytest.approx([*old, *(base * (1 - i / 12) ** 0.9 for i in (8, 11))])
    assert comparable(run_dir)[:2] == comparable(short)
    checkpoint = read_checkpoint(run_dir / "last.pth")
    assert (checkpoint.epoch, checkpoint.settings.train.epochs) == (4, 4)
    assert load_settings(run_dir / "settings.toml") == checkpoint.settings
    scores = [line["metrics"]["val/f1_merged/overall"] for line in recorded(run_dir)]
    assert (result.best_epoch, result.best_score) == (scores.index(max(scores)) + 1, max(scores))
    watcher = Watcher()
    assert resume(run_dir, watcher, epochs=4) == result  # a job that is started again does not train again
    assert watcher.messages[0].startswith(f"{run_dir} is finished, all 4 epochs; nothing is left to train.")


def test_an_extended_run_that_is_interrupted_ends_as_one_that_is_not(short: Path, tmp_path: Path) -> None:
    whole, part = (Path(shutil.copytree(short, tmp_path / name)) for name in ("whole", "part"))
    resume(whole, Watcher(), epochs=5)
    with pytest.raises(KeyboardInterrupt):
        resume(part, Watcher(stop_after=3), epochs=5)
    with pytest.raises(KeyboardInterrupt):
        resume(part, Watcher(stop_after=4))
    watcher = Watcher()
    resume(part, watcher, epochs=5)
    assert [epoch for epoch, *_ in watcher.epochs] == [5]
    assert not any("instead of" in message for message in watcher.messages)  # it has this end already
    assert_same(last(part), last(whole))
    assert comparable(part) == comparable(whole)


def test_a_run_that_goes_on_to_its_own_end_is_as_if_it_had_not_stopped(
    reference: RunResult, make: Callable[..., Settings]
) -> None:
    """A stopped run, with its number of epochs named: nothing is extended."""
    settings = make(train__epochs=3, tracking__enabled=False)
    run_dir = stopped(settings)
    resume(run_dir, Watcher(), epochs=3)
    assert_same(last(run_dir), last(reference.run_dir))


def test_a_run_gets_an_earlier_end_to_let_its_learning_rate_fall_sooner(make: Callable[..., Settings]) -> None:
    run_dir = stopped(make(train__epochs=30, tracking__enabled=False))
    resume(run_dir, Watcher(), epochs=2)
    base = load_settings(run_dir / "settings.toml").optim.lr
    assert rates(run_dir) == pytest.approx([base * (1 - 2 / 90) ** 0.9, base * (1 - 5 / 6) ** 0.9])


def test_a_kill_between_settings_and_checkpoint_leaves_a_line_that_says_how_to_go_on(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same line answers who edits the number of epochs in settings.toml."""
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "save_last", killed)
        with pytest.raises(KeyboardInterrupt):
            resume(run_dir, Watcher(), epochs=4)
    with pytest.raises(SettingsError) as caught:
        resume(run_dir, Watcher())
    assert str(caught.value) == (
        f"{run_dir / 'settings.toml'}: has train.epochs = 4, and the checkpoint 2; say how long to train: faceparse "
        f"train --resume {run_dir} --epochs 4"
    )
    resume(run_dir, Watcher(), epochs=4)
    assert [epoch for epoch, _ in comparable(run_dir)] == [1, 2, 3, 4]
    assert read_checkpoint(run_dir / "last.pth").settings.train.epochs == 4


def test_a_run_that_patience_ended_goes_on_and_counts_anew(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4, 3)
    settings = tiny(train__epochs=9, train__patience=2, **PATIENT)
    run_dir = train(settings, Watcher()).run_dir
    script(monkeypatch, 3, 2, 1)
    watcher = Watcher()
    resume(run_dir, watcher, epochs=9)
    assert "trains on to epoch 9; train.patience counts anew" in watcher.messages
    assert [epoch for epoch, *_ in watcher.epochs] == [4, 5]
    assert rates(run_dir) == pytest.approx([1e-3 * (1 - (3 * epoch - 1) / 27) ** 0.9 for epoch in range(1, 6)])
    script(monkeypatch, 7, 6, 6)
    assert resume(run_dir, Watcher(), epochs=20).best_epoch == 6
    assert [epoch for epoch, _ in comparable(run_dir)] == list(range(1, 9))


def test_an_end_that_is_past_is_refused(short: Path, tmp_path: Path, make: Callable[..., Settings]) -> None:
    run_dir = Path(shutil.copytree(short, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError, match=r"^train\.epochs = 1: .*run has trained 2 already; name a later end$"):
        resume(run_dir, Watcher(), epochs=1)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    unfinished = stopped(make(train__epochs=3, tracking__enabled=False))
    with pytest.raises(SettingsError, match=r"^train\.epochs = 1: .* has trained 1 already; name a later end$"):
        resume(unfinished, Watcher(), epochs=1)


def test_mlflow_has_the_new_number_of_epochs_and_each_epoch_once(make: Callable[..., Settings], store: str) -> None:
    first = train(make(train__epochs=1), Watcher())
    result = resume(first.run_dir, Watcher(), epochs=2)
    assert result.run_id == first.run_id
    run = logged(store, result.run_id)
    assert (run.info.status, run.data.params["train.epochs"], run.data.tags["epochs"]) == ("FINISHED", "1", "2")
    assert [step for step, _ in points(store, result.run_id, "train/loss")] == [1, 2]


def test_a_run_that_moved_knows_its_best_checkpoint(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it runs is in each checkpoint's settings, and the best one may be older than the move."""
    script(monkeypatch, 9, 5, 5)
    settings = tiny(train__epochs=3, **PATIENT)
    run_dir = stopped(settings)
    elsewhere = settings.model_copy(update={"launch": settings.launch.model_copy(update={"timeout": 30.0})})
    with pytest.raises(KeyboardInterrupt):
        resume(run_dir, Watcher(stop_after=2), where=elsewhere)
    watcher = Watcher()
    assert resume(run_dir, watcher).best_epoch == 1
    assert watcher.warnings == []
