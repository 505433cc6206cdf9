"""Training that stops by itself."""

from pathlib import Path

import pytest

from faceparse.core.errors import OutputError
from faceparse.core.training.recorder import Recorder
from faceparse.core.training.run import resume, train
from tests.conftest import Tiny
from tests.core.training.recorded import Watcher, assert_same, comparable, last, recorded
from tests.core.training.scripted import PATIENT, script

ENDED = "train.patience = 2 evaluations without a better val/pixel_accuracy; the learning rate is "


def test_training_stops_after_so_many_evaluations_without_a_better_score(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, 5, 7, 6, 8, 8, 7)
    watcher = Watcher()
    result = train(tiny(train__epochs=30, train__patience=2, **PATIENT), watcher)
    assert (result.best_epoch, result.best_score) == (4, 0.8)
    assert [best for *_, best in watcher.epochs] == [True, True, False, True, False, False]
    assert watcher.messages[-1] == (
        f"stopped after epoch 6 of 30: {ENDED}{1e-3 * (1 - 6 / 30) ** 0.9:.3g}, and its fall to 0 in 24 more epochs is "
        "cut off"
    )
    log = (result.run_dir / "train.log").read_text()
    assert log.endswith(" finished\n")
    assert (
        "train.patience = 2: training stops after 2 epochs without a better val/pixel_accuracy, and then lacks the end "
        "of the schedule, which is epoch 30"
    ) in log
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2, 3, 4, 5, 6]
    watcher = Watcher()
    assert resume(result.run_dir, watcher).best_epoch == 4
    assert watcher.messages[0].startswith(f"{result.run_dir} is finished, 6 of 30 epochs; nothing is left to train.")


def test_patience_counts_evaluations_not_epochs(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4)
    settings = tiny(train__epochs=9, train__evaluate_every=2, train__patience=1, optim__power=0, **PATIENT)
    watcher = Watcher()
    result = train(settings, watcher)
    assert [line["epoch"] for line in recorded(result.run_dir)] == [1, 2, 3, 4]
    assert watcher.messages[-1] == (  # at a constant rate, no fall is cut off
        "stopped after epoch 4 of 9: train.patience = 1 evaluations without a better val/pixel_accuracy"
    )


def test_without_patience_all_epochs_are_trained(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, 5, 4, 3)
    watcher = Watcher()
    train(tiny(train__epochs=3, **PATIENT), watcher)
    assert len(watcher.epochs) == 3
    assert not any("train.patience" in message for message in watcher.messages)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_patience_counts_on_in_a_resumed_run(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, stop_after: int) -> None:
    options = {"train__epochs": 9, "train__patience": 2, **PATIENT}
    script(monkeypatch, 5, 4, 3)
    whole = train(tiny(train__run_dir=Path("whole"), **options), Watcher())
    script(monkeypatch, 5, 4, 3)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(train__run_dir=Path("part"), **options), Watcher(stop_after=stop_after))
    watcher = Watcher()
    resume(Path("part"), watcher)
    assert len(watcher.epochs) == 3 - stop_after  # none where only the word `finished` was missing
    assert ENDED in watcher.messages[-1]
    assert_same(last(Path("part")), last(whole.run_dir))
    assert comparable(Path("part")) == comparable(whole.run_dir)
    assert last(whole.run_dir)["training"]["best"] == {"score": 0.5, "epoch": 1, "since": 2}


def test_a_better_score_that_could_not_be_written_is_not_waiting(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full, the run does not stop for lack of better scores."""
    script(monkeypatch, 5, 6, 7, 8)

    def fail(*_: object) -> None:
        raise OutputError("cannot write best.pth: no space left")

    monkeypatch.setattr(Recorder, "save_best", fail)
    watcher = Watcher()
    train(tiny(train__epochs=4, train__patience=1, **PATIENT), watcher)
    assert len(watcher.epochs) == 4
