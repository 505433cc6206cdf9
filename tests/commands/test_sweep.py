import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import InterruptedRunError, TrainingError
from faceparse.core.settings import Settings
from faceparse.core.sweeps.sweep_file import read_record
from faceparse.core.training import launch
from faceparse.core.training import run as run_module
from faceparse.core.training.launch import Job
from faceparse.core.training.run import RunResult

Tree = Callable[[], dict[Path, bytes]]
OFF = ["--set", "tracking.enabled=false"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Nothing is trained; a batch of 4 scores 0.25, and so on, and one of 13 fails."""
    kept: list[Settings] = []

    def score(job: Job) -> RunResult:
        settings = job.settings
        kept.append(settings)
        if settings.train.batch_size == 13:
            raise TrainingError("the GPU's memory is full; lower --batch-size or --input-size")
        folder = settings.train.run_dir
        assert folder is not None
        score, root = settings.train.batch_size / 16, settings.data.root
        return RunResult(folder, folder / "best.pth", 3, score, "abc", "sqlite:////x.db", "val/f1_mean", root)

    monkeypatch.setattr(launch, "start", score)
    monkeypatch.setattr(run_module, "check", lambda *_: None)
    return kept


def test_it_ends_with_the_trials_ranked_and_what_to_do_next(cli: Any, asked: list[Settings]) -> None:
    done = cli("sweep", "--over", "train.batch_size=4,7", "--over", "optim.lr=1e-3..2e-3", "--trials", 3, *OFF,
               "--sampler", "random", "--sweep-dir", "[s]")  # fmt: skip
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].strip() == "[s]"
    assert [word for word in lines[2].split() if word.isascii() and len(word) > 1] == [
        "trial", "score", "best", "epoch", "train.batch_size", "optim.lr",
    ]  # fmt: skip
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    trials = {trial.name: trial for trial in read_record(Path("[s]")).trials}
    assert [float(row[1]) for row in rows] == sorted((round(t.score or 0, 4) for t in trials.values()), reverse=True)
    for name, score, epoch, batch, lr in rows:
        params = trials[name].params
        assert (batch, lr) == (params["train.batch_size"], f"{params['optim.lr']:.4g}")
        assert (score, epoch) == (f"{int(batch) / 16:.4f}", "3")
    assert lines[-1] == f"next: faceparse eval [s]/{rows[0][0]}/best.pth ; faceparse ui"


def test_without_a_list_for_test_the_next_command_scores_val(cli: Any, asked: list[Settings]) -> None:
    Path("faces").mkdir()
    Path("faces/val_list.txt").touch()
    done = cli("sweep", "--over", "train.batch_size=4", "--data-dir", "faces", "--sweep-dir", "s", *OFF)
    assert done.out.splitlines()[-1] == "next: faceparse eval s/trial-001/best.pth --split val ; faceparse ui"


def test_options_are_those_of_train(cli: Any, asked: list[Settings]) -> None:
    Path("experiment.toml").write_text("[train]\nepochs = 3\nseed = 5\n")
    options = ["--data-dir", "faces", "--device", "cpu", "--epochs", 7, "--batch-size", 5, "--restore-from", "w.pth"]
    done = cli("sweep", "experiment.toml", "--over", "optim.lr=1,2", *options, "--set", "optim.momentum=0.5", *OFF)
    assert done.code == 0, done.err
    for settings in asked:
        train = settings.train
        assert (train.epochs, train.batch_size, train.seed, train.device) == (7, 5, 5, "cpu")
        assert settings.optim.momentum == 0.5
        assert (settings.data.root, settings.model.pretrained) == (Path("faces"), "w.pth")
        assert train.run_dir is not None
        assert train.run_dir.parts[:2] == ("runs", "faceparse")
        assert train.run_dir.parts[2].startswith("sweep-")
        assert train.run_dir.name == settings.tracking.run_name
    assert sorted(settings.optim.lr for settings in asked) == [1, 2]


def test_a_seed_chooses_the_trials(cli: Any, asked: list[Settings]) -> None:
    rates = []
    for number, seed in enumerate((0, 0, 1)):
        asked.clear()
        options = ["--trials", 2, "--seed", seed, "--sweep-dir", number, *OFF]
        assert cli("sweep", "--over", "optim.lr=1..2", *options).code == 0
        rates.append([settings.optim.lr for settings in asked])
    assert rates[0] == rates[1] != rates[2]


def test_a_failed_trial_stands_below_and_is_told_by_the_exit_code(cli: Any, asked: list[Settings]) -> None:
    over = ["--over", "train.batch_size=13,4", "--sampler", "grid", "--sweep-dir", "s", *OFF]
    done = cli("sweep", *over)
    assert done.code == 1
    names = [line.split()[1] for line in done.out.splitlines() if line.startswith("│")]
    assert names == ["trial-002", "trial-001"]
    reason = "the GPU's memory is full; lower --batch-size or --input-size"
    assert done.out.splitlines()[-2:] == [
        f"trial-001 failed: {reason}",
        "next: faceparse eval s/trial-002/best.pth ; faceparse ui",
    ]
    assert f"warning: trial-001 failed, the sweep goes on: {reason}\n" in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_was_stopped_goes_on(
    cli: Any, asked: list[Settings], monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    with monkeypatch.context() as patched:

        def stop(*_: object) -> None:
            raise InterruptedRunError(f"stopped by {number.name}", 128 + number)

        patched.setattr(launch, "start", stop)
        done = cli("sweep", "--over", "optim.lr=1,2", "--sweep-dir", "s", *OFF)
    assert (done.code, done.out) == (code, "")
    assert done.err.splitlines()[-1] == (
        f"trial-001 stopped by {number.name}; the whole sweep: faceparse sweep --resume s"
    )
    assert cli("sweep", "--resume", "s", "--trials", 1).code == 0
    assert len(asked) == 1
    assert cli("sweep", "--resume", "s", "--trials", 9).code == 0
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--over: say what to vary, such as --over optim.lr=1e-3,5e-4"),
        (["--over", "optim.rl=1,2"], "--over: unknown setting 'optim.rl'; did you mean 'optim.lr'?"),
        (["--over", "optim.lr=1,-2"], "--over: optim.lr = '-2': input should be greater than 0"),
        (["--over", "optim.lr=1..2"], "--trials: say how many; a range of fractions has no last value"),
        (["--over", "optim.lr=1,2", "--sampler", "x"], "--sampler 'x': one of tpe, random, grid"),
        (["--over", "optim.lr=1,2", "--set", "train.epochs"],
         "--set 'train.epochs': write section.key=value, such as --set train.epochs=50"),
        (["--over", "optim.lr=1,2", "--epochs", "0"], "option: train.epochs = 0: input should be greater than 0"),
        (["--over", "optim.lr=1,2", "--data-dir", "nowhere"],
         "nowhere: no such dataset folder; make it with 'faceparse prepare' or give --data-dir"),
        (["--resume", "nowhere"],
         "nowhere: not a sweep directory (no sweep.json in it); one is runs/<experiment>/sweep-<time>-<id>"),
        (["--resume", "s", "--epochs", "3"],
         "--resume goes on with the sweep's own settings; only --trials may stand beside it"),
        (["--resume", "s", "--seed", "0"],
         "--resume goes on with the sweep's own settings; only --trials may stand beside it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(cli: Any, tree: Tree, arguments: list[str], expected: str) -> None:
    assert cli("sweep", *arguments).message == expected
    assert tree() == {}


def test_without_optuna_it_says_what_to_install(cli: Any, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    expected = "a sweep needs optuna: pip install optuna, or '.[sweep]' where faceparse is cloned"
    assert cli("sweep", "--over", "optim.lr=1,2").message == expected
    assert tree() == {}
    assert cli("sweep", "--help").code == 0
