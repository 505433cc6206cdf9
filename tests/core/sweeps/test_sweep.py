import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceparse.core.errors import (
    CheckpointError,
    DatasetError,
    FaceparseError,
    InterruptedRunError,
    OutputError,
    SettingsError,
    TrainingError,
)
from faceparse.core.settings import Settings, flatten, load_settings
from faceparse.core.sweeps.space import parse_space
from faceparse.core.sweeps.sweep import SweepResult, resume, sweep
from faceparse.core.sweeps.sweep_file import Record, Trial, check_record, read_record, write_record
from faceparse.core.training import launch
from faceparse.core.training import run as run_module
from faceparse.core.training.run import RunResult
from tests.conftest import Silent, shown_to
from tests.core.sweeps.conftest import Make, assert_points_once, logged
from tests.core.sweeps.killing import kill_in_second_trial

OVER = ["optim.lr=1e-4..1e-2:log", "train.batch_size=4,6"]


def search(settings: Settings, over: list[str], **options: Any) -> SweepResult:
    defaults = {"trials": None, "sampler": "tpe", "seed": 0, "sweep_dir": Path("sweep"), "display": shown_to(Silent())}
    return sweep(settings, over, **defaults | options)


def outcome(trials: list[Trial]) -> list[tuple[object, ...]]:
    """What does not depend on where and when the sweep took place."""
    return [(trial.number, trial.params, trial.state, trial.score, trial.best_epoch) for trial in trials]


@pytest.fixture(scope="module")
def reference(make: Make, tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    """Three trials without interruption. Not to be written to."""
    settings = make(tracking__experiment="sweep")
    return search(settings, OVER, trials=3, sweep_dir=tmp_path_factory.mktemp("sweeps") / "sweep")


# A sweep that nothing stops


def test_every_trial_is_a_run_with_settings_of_its_own(reference: SweepResult) -> None:
    record = read_record(reference.path)
    assert [trial.state for trial in record.trials] == ["finished"] * 3
    assert len({trial.params["optim.lr"] for trial in record.trials}) == 3
    names = {"settings.toml", "best.pth", "last.pth", "metrics.jsonl", "train.log", "tracking.json"}
    for trial in record.trials:
        folder = reference.path / trial.name
        assert {path.name for path in folder.iterdir()} >= names
        found = flatten(load_settings(folder / "settings.toml"))
        assert found["optim.lr"] == trial.params["optim.lr"]
        assert found["train.batch_size"] == int(trial.params["train.batch_size"])
        assert found["train.epochs"] == 1
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        scores = [line["metrics"]["val/f1_merged/overall"] for line in lines]
        assert (trial.score, trial.best_epoch) == (max(scores), 1 + scores.index(max(scores)))


def test_trials_are_ranked_by_their_scores(reference: SweepResult) -> None:
    scores = [trial.score for trial in reference.trials]
    assert scores == sorted(scores, key=lambda score: -(score or 0))
    assert reference.best == reference.path / reference.trials[0].name / "best.pth"
    assert reference.best.is_file()


def test_mlflow_nests_the_trials_in_the_sweep(reference: SweepResult, store: str) -> None:
    parent, children = logged(store, "sweep")
    best = reference.trials[0]
    assert (parent.info.run_name, parent.info.status) == ("sweep", "FINISHED")
    space = {"optim.lr": "1e-4..1e-2:log", "train.batch_size": "4,6"}
    assert parent.data.params == {**space, "sweep.sampler": "tpe", "sweep.seed": "0"}
    expected = {"best_trial": best.name, "best_score": f"{best.score:.6f}", "best_run_id": best.run_id}
    assert expected.items() <= parent.data.tags.items()
    assert_points_once(store, parent, {1, 2, 3})
    assert parent.data.metrics["best_score"] == best.score
    record = read_record(reference.path)
    assert [run.info.run_id for run in children] == [trial.run_id for trial in record.trials]
    assert [run.info.run_name for run in children] == ["trial-001", "trial-002", "trial-003"]
    for run, trial in zip(children, record.trials, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.params["optim.lr"] == str(trial.params["optim.lr"])
        assert_points_once(store, run, {1})


def test_a_finished_sweep_is_only_shown_again(reference: SweepResult) -> None:
    before = (reference.path / "sweep.json").read_bytes()
    observer = Silent()
    again = resume(reference.path, shown_to(observer))
    assert again == reference
    assert (reference.path / "sweep.json").read_bytes() == before
    assert [message for message in observer.messages if message.startswith("trial-")] == []


# Sweeps that are stopped


def test_a_sweep_that_was_killed_goes_on_as_if_it_had_not_been(reference: SweepResult, make: Make, store: str) -> None:
    settings = make(tracking__experiment="killed", train__checkpoint_every=1)
    over = [part for text in OVER for part in ("--over", text)]
    kill_in_second_trial(["sweep", *over, "--trials", "3", "--sweep-dir", "killed"], settings, Path("killed"))
    assert [trial.state for trial in read_record(Path("killed")).trials] == ["finished", "begun"]

    observer = Silent()
    result = resume(Path("killed"), shown_to(observer))
    assert outcome(result.trials) == outcome(reference.trials)
    (resumed,) = [message for message in observer.messages if message.startswith("resumed after ")]
    assert resumed.startswith("resumed after epoch 0 and ")
    parent, children = logged(store, "killed")
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 4
    assert_points_once(store, parent, {1, 2, 3})
    for run in children:
        assert_points_once(store, run, {1})


class Stopping(Silent):
    """Does something as the first epoch starts."""

    def __init__(self, stop: Callable[[], object]) -> None:
        super().__init__()
        self.stop = stop

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        self.stop()


def test_a_sweep_that_is_told_to_stop_says_how_to_go_on(reference: SweepResult, make: Make, store: str) -> None:
    settings = make(tracking__experiment="stopped")
    with pytest.raises(InterruptedRunError) as caught:
        search(settings, OVER, trials=1, display=shown_to(Stopping(lambda: signal.raise_signal(signal.SIGTERM))))
    assert str(caught.value) == (
        "trial-001 stopped by SIGTERM in epoch 1, after 0 of 2 iterations; saved, go on with: faceparse train --resume "
        "sweep/trial-001; the whole sweep: faceparse sweep --resume sweep"
    )
    assert caught.value.exit_code == 143
    assert statuses(store, "stopped") == ["KILLED", "KILLED"]
    assert outcome(resume(Path("sweep"), shown_to(Silent())).trials) == first_of(reference)
    assert statuses(store, "stopped") == ["FINISHED", "FINISHED"]


def test_a_trial_without_a_checkpoint_begins_again_as_the_same_run(
    reference: SweepResult, make: Make, store: str
) -> None:
    def press_ctrl_c_twice() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(make(tracking__experiment="begun"), OVER, trials=1, display=shown_to(Stopping(press_ctrl_c_twice)))
    assert not Path("sweep/trial-001/last.pth").exists()
    assert statuses(store, "begun") == ["KILLED", "KILLED"]
    assert outcome(resume(Path("sweep"), shown_to(Silent())).trials) == first_of(reference)
    assert statuses(store, "begun") == ["FINISHED", "FINISHED"]


def first_of(reference: SweepResult) -> list[tuple[object, ...]]:
    return outcome(read_record(reference.path).trials)[:1]


def statuses(store: str, experiment: str) -> list[str]:
    parent, children = logged(store, experiment)
    return [run.info.status for run in (parent, *children)]


# Trials that fail


def test_a_trial_that_fails_is_recorded_and_the_sweep_goes_on(make: Make, store: str) -> None:
    observer = Silent()
    settings = make(tracking__experiment="failing")
    result = search(settings, ["optim.lr=1e30,1e-3"], sampler="grid", display=shown_to(observer))
    assert [(trial.number, trial.state) for trial in result.trials] == [(2, "finished"), (1, "failed")]
    error = result.trials[1].error
    assert error is not None
    assert error.startswith("the loss is not finite at iteration ")
    assert observer.warnings == [f"trial-001 failed, the sweep goes on: {error}"]
    assert statuses(store, "failing") == ["FINISHED", "FAILED", "FINISHED"]
    assert_points_once(store, logged(store, "failing")[0], {2})


class Scripted:
    """Stands in for training: each trial comes to what is next."""

    def __init__(self, *outcomes: float | Exception) -> None:
        self.outcomes = list(outcomes)
        self.seen: list[Settings] = []

    def __call__(self, job: launch.Job) -> RunResult:
        settings = job.settings
        self.seen.append(settings)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        folder = settings.train.run_dir
        assert folder is not None
        return RunResult(folder, folder / "best.pth", 1, outcome, None, None, "val/f1_mean", Path())


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    def make(*outcomes: float | Exception) -> Scripted:
        script = Scripted(*outcomes)
        monkeypatch.setattr(launch, "start", script)
        monkeypatch.setattr(run_module, "check", lambda *_: None)
        return script

    return make


def test_where_all_fail_there_is_no_best(scripted: Callable[..., Scripted], make: Make) -> None:
    scripted(TrainingError("one"), CheckpointError("two"))
    result = search(make(tracking__enabled=False), ["optim.lr=1,2"])
    assert [(trial.state, trial.error) for trial in result.trials] == [("failed", "one"), ("failed", "two")]
    assert result.best is None


def test_a_disk_that_is_full_ends_the_sweep_which_goes_on_with_that_trial(
    scripted: Callable[..., Scripted], make: Make
) -> None:
    scripted(0.5, OutputError("cannot write x"))
    with pytest.raises(OutputError, match="cannot write x"):
        search(make(tracking__enabled=False), ["optim.lr=1,2,3"], sampler="grid")
    assert [trial.state for trial in read_record(Path("sweep")).trials] == ["finished", "begun"]
    script = scripted(0.25, 0.75)
    result = resume(Path("sweep"), shown_to(Silent()))
    assert [trial.number for trial in result.trials] == [3, 1, 2]
    assert [settings.optim.lr for settings in script.seen] == [2, 3]


def test_a_sweep_can_be_given_more_trials(scripted: Callable[..., Scripted], make: Make) -> None:
    scripted(0.1, 0.2, 0.3, 0.4, 0.5)
    search(make(tracking__enabled=False), ["optim.lr=1..2"], trials=2)
    assert len(resume(Path("sweep"), shown_to(Silent())).trials) == 2
    more = resume(Path("sweep"), shown_to(Silent()), trials=4)
    assert [trial.number for trial in more.trials] == [4, 3, 2, 1]
    assert len(resume(Path("sweep"), shown_to(Silent()), trials=1).trials) == 4  # nothing is thrown away


def test_trials_end_with_the_last_combination(scripted: Callable[..., Scripted], make: Make) -> None:
    script = scripted(*[0.1] * 4)
    observer = Silent()
    settings = make(tracking__enabled=False)
    search(settings, ["optim.lr=1,2", "train.batch_size=4,7"], trials=9, display=shown_to(observer))
    assert sorted((one.optim.lr, one.train.batch_size) for one in script.seen) == [(1, 4), (1, 7), (2, 4), (2, 7)]
    assert all(message.split(":")[0].endswith(" of 4") for message in observer.messages)
    assert [one.train.run_dir for one in script.seen] == [Path(f"sweep/trial-00{number}") for number in (1, 2, 3, 4)]


def test_the_environment_of_the_start_counts_to_the_end(
    scripted: Callable[..., Scripted], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEPARSE_OPTIM__MOMENTUM", "0.5")
    scripted(0.1, OutputError("full"))
    with pytest.raises(OutputError):
        search(make(tracking__enabled=False), ["optim.lr=1,2"])
    monkeypatch.setenv("FACEPARSE_OPTIM__MOMENTUM", "0.25")
    script = scripted(0.2)
    resume(Path("sweep"), shown_to(Silent()))
    assert [one.optim.momentum for one in script.seen] == [0.5]


# What stands in the way of all trials


def spoil_batch_size(root: Path) -> dict[str, object]:
    return {"train__batch_size": 13}


def spoil_data(root: Path) -> dict[str, object]:
    return {"data__root": "nowhere"}


def spoil_place(root: Path) -> dict[str, object]:
    return {"train__run_dir": "run"}


@pytest.mark.parametrize(
    ("spoil", "kind", "expected"),
    [
        (spoil_batch_size, SettingsError, "train.batch_size = 13, but there are 12 training samples; lower it"),
        (
            spoil_data,
            DatasetError,
            "nowhere: no such dataset folder; make it with 'faceparse prepare' or give --data-dir",
        ),
        (spoil_place, SettingsError, "train.run_dir = 'run': each trial has its own; write --sweep-dir"),
    ],
)
def test_what_would_stop_every_trial_is_said_before_anything_is_written(
    make: Make,
    spoil: Callable[[Path], dict[str, object]],
    kind: type[FaceparseError],
    expected: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(kind) as caught:
        search(make(**spoil(tmp_path)), ["optim.lr=1,2"])
    assert str(caught.value) == expected
    assert list(tmp_path.iterdir()) == []


def test_a_range_of_fractions_needs_a_number_of_trials(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        search(make(), ["optim.lr=1..2"])
    assert str(caught.value) == "--trials: say how many; a range of fractions has no last value"
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_directory_is_used_once(reference: SweepResult, make: Make) -> None:
    with pytest.raises(OutputError) as caught:
        search(make(), ["optim.lr=1,2"], sweep_dir=reference.path)
    expected = f"already holds a sweep; go on with it by --resume {reference.path}, or choose another folder"
    assert str(caught.value) == f"{reference.path}: {expected}"


def test_a_dataset_that_went_away_fails_no_trial(make: Make, own_faces: Path) -> None:
    settings = make(tracking__enabled=False, data__root=own_faces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start", Scripted(0.1, OutputError("full")))
        with pytest.raises(OutputError):
            search(settings, ["optim.lr=1,2"])
    own_faces.rename("elsewhere")
    with pytest.raises(DatasetError, match="no such dataset folder"):
        resume(Path("sweep"), shown_to(Silent()))
    assert [trial.state for trial in read_record(Path("sweep")).trials] == ["finished", "begun"]


# Records and folders that no sweep left


def test_a_trial_s_folder_that_holds_another_run_is_refused(make: Make, trained: RunResult, tmp_path: Path) -> None:
    """Its score would stand under the trial's settings."""
    settings = make()
    folder = tmp_path / "sweep"
    shutil.copytree(trained.run_dir, folder / "trial-001")
    with pytest.raises(OutputError, match=r"trial-001: lies where new trials go"):
        search(settings, ["optim.lr=1e-3,1e-2"], sampler="grid", sweep_dir=folder)
    shutil.rmtree(folder)
    search(settings, ["optim.lr=1e-3,1e-2"], sampler="grid", trials=1, sweep_dir=folder)
    record = read_record(folder)
    record.trials[0].state, record.trials[0].score, record.wanted = "begun", None, 1
    write_record(folder, record)
    shutil.rmtree(folder / "trial-001")
    shutil.copytree(trained.run_dir, folder / "trial-001")
    with pytest.raises(OutputError, match=r"trial-001: holds a run with other settings than those of this trial"):
        resume(folder, shown_to(Silent()))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("wanted", 0, "wanted = 0"),
        ("number", 2, "trial 2 stands in place 1"),
        ("params", {"optim.momentum": 0.5}, "trial-001 has other settings than optim.lr"),
        ("params", {"optim.lr": "7"}, "trial-001 has optim.lr = '7', which the sweep does not try"),
        ("score", float("nan"), "trial-001 is finished with the score nan"),
        ("score", None, "trial-001 is finished with the score None"),
        ("state", "begun", "trial-001 is not finished, but later ones have begun"),
    ],
)
def test_an_edited_record_is_refused(tmp_path: Path, name: str, value: Any, expected: str) -> None:
    over = ["optim.lr=1e-3,1e-2"]
    space = parse_space(Settings(), over)
    trials = [Trial(n, {"optim.lr": lr}, "finished", 0.5, 1) for n, lr in enumerate(("1e-3", "1e-2"), 1)]
    record = Record({}, over, "grid", 0, 2, trials)
    check_record(record, space, tmp_path)
    setattr(record if name == "wanted" else trials[0], name, value)
    with pytest.raises(SettingsError, match=re.escape(f"sweep.json: {expected}")):
        check_record(record, space, tmp_path)
