"""Train the trials of one experiment, one after the other, in one folder and under one MLflow run.

new_trials, open_trials     check, then hold the folder; grid_trials: of all combinations of some values
  Trials.tracked            the MLflow run above those of the trials
  Trials.train              all trials that are not finished; sweep.json knows each before it begins
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import faceparse
from faceparse.core.errors import DeviceError, FaceparseError, InterruptedRunError, OutputError, SettingsError
from faceparse.core.machine.distributed import is_joined
from faceparse.core.runs.directory import LAST, RunDirectory, has_settings, new_name
from faceparse.core.runs.git import git_tags
from faceparse.core.runs.tracker import Tracker
from faceparse.core.settings import Settings, chosen, override, settings_from_dict
from faceparse.core.sweeps.proposals import propose
from faceparse.core.sweeps.sweep_file import (
    COMMANDS,
    NOUNS,
    SWEEP_FILE,
    Purpose,
    Record,
    Trial,
    best_of,
    check_record,
    is_sweep,
    read_record,
    write_record,
)
from faceparse.core.training import launch, run
from faceparse.core.training.launch import Display
from faceparse.core.training.observer import Observer
from faceparse.core.training.plan import adopt_start
from faceparse.core.training.run import RunResult


class Trials:
    """The trials of a record, in a folder that this process holds."""

    def __init__(self, directory: RunDirectory, record: Record, observer: Observer, display: Display) -> None:
        self.directory, self.record = directory, record
        self.observer, self.display = observer, display
        self.settings = settings_from_dict(record.settings)
        self.space = record.space(self.settings)
        self.command = COMMANDS[record.purpose]

    @property
    def path(self) -> Path:
        """The folder."""
        return self.directory.path

    def train(self, tracker: Tracker) -> None:
        """Train all trials that are not finished.

        A sweep goes on where a trial fails. Folds and curves need every trial, so they stop there.

        Raises:
            FaceparseError: something stands in the way of all trials, or of one that is needed.
            InterruptedRunError: a signal asked to stop; the trial's checkpoint is written.
        """
        while (trial := self.upcoming()) is not None:
            self._try(trial, tracker)
        tracker.upload(self.path / SWEEP_FILE)

    def upcoming(self) -> Trial | None:
        """The trial that was under way, or a new one, which is on disk before it begins; None after the last."""
        trials, wanted = self.record.trials, self.record.wanted
        if trials and trials[-1].state == "begun":
            return trials[-1]
        if wanted is not None and len(trials) >= wanted:
            return None
        params = propose(self.space, trials, sampler=self.record.sampler, seed=self.record.seed)
        if params is None:
            return None
        trials.append(Trial(len(trials) + 1, params))
        write_record(self.path, self.record)
        return trials[-1]

    def _try(self, trial: Trial, tracker: Tracker) -> None:
        total = min(count for count in (self.record.wanted, self.space.size) if count is not None)
        params = ", ".join(f"{key} = {value}" for key, value in trial.params.items())
        self.observer.message(f"{trial.name} of {total}: {params}")
        try:
            result = self._train(trial)
        except InterruptedRunError as stop:
            go_on = f"faceparse {self.command} --resume {self.path}"
            whole = "all folds" if self.record.purpose == "folds" else f"the whole {self.record.purpose}"
            raise InterruptedRunError(f"{trial.name} {stop}; {whole}: {go_on}", stop.exit_code) from None
        except (OutputError, DeviceError):  # the next trial would also find a full disk or no GPU
            raise
        except FaceparseError as error:
            if self.record.purpose != "sweep":
                raise
            trial.state, trial.error = "failed", str(error)
            self.observer.warning(f"{trial.name} failed, the sweep goes on: {error}")
        else:
            trial.state, trial.score, trial.best_epoch = "finished", result.best_score, result.best_epoch
            trial.run_id = result.run_id
            self._report(trial, tracker)
        write_record(self.path, self.record)

    def _train(self, trial: Trial) -> RunResult:
        folder = self.path / trial.name
        own = {"train.run_dir": folder, "tracking.run_name": trial.name}
        settings = override(self.settings, {**trial.params, **own})
        if not (folder / LAST).exists():
            return launch.start(launch.Job(settings, self.display))
        if not has_settings(folder, adopt_start(settings, self.observer)):
            raise OutputError(
                f"{folder}: holds a run with other settings than those of this trial; remove the folder, or begin "
                f"another {self.record.purpose} in a new folder"
            )
        return launch.start(launch.resume_job(folder, self.display, {}))

    def _report(self, trial: Trial, tracker: Tracker) -> None:
        """Record the score of a finished trial. The trial's number is the step."""
        best = best_of(self.record.trials)
        assert best is not None
        assert trial.score is not None
        assert best.score is not None
        self.directory.forget_after(trial.number - 1)  # left by a try that was killed before its record
        chosen = self.record.purpose == "sweep"
        self.directory.record(trial.number, {"score": trial.score, **({"best_score": best.score} if chosen else {})})
        tracker.deliver()
        if chosen:
            tracker.tag(best_tags(best))

    def tracked(self) -> Tracker:
        """The MLflow run of the folder. The trials' runs become its children."""
        over = dict(text.split("=", 1) for text in self.record.over)
        searched = {"sweep.sampler": self.record.sampler, "sweep.seed": self.record.seed}
        return Tracker.start(
            self.settings.tracking,
            self.path,
            self.directory.metrics,
            params={**over, **(searched if self.record.purpose == "sweep" else {})},
            tags={
                "mlflow.source.name": f"faceparse {self.command}",
                "mlflow.source.type": "LOCAL",
                "trials": self.record.purpose,
                "dataset": self.settings.data.root.name,
                "run_dir": str(self.path.resolve()),
                "faceparse": faceparse.__version__,
                **git_tags(Path.cwd()),
            },
            warn=self.observer.warning,
            say=self.observer.message,
        )


@contextmanager
def new_trials(path: Path, record: Record, display: Display) -> Iterator[Trials]:
    """Check what all trials need, make their folder at `path`, and hold it.

    Raises:
        FaceparseError: something stands in the way of all trials. Nothing is left behind.
    """
    if is_sweep(path):
        there = read_record(path).purpose
        go_on = f"go on with it by --resume {path}, or " if there == record.purpose else ""
        raise OutputError(f"{path}: already holds {NOUNS[there]}; {go_on}choose another folder")
    if leftover := min(path.glob("trial-*"), default=None):
        raise OutputError(f"{leftover}: lies where new trials go; choose another folder")
    settings = settings_from_dict(record.settings)
    if is_joined() or settings.launch.nodes > 1:
        raise SettingsError(f"{NOUNS[record.purpose]}: its runs start here, one by one; drop the launcher and --nodes")
    with display() as observer:
        run.check(override(settings, record.space(settings).example()), observer)
        directory = RunDirectory.create(override(settings, {"train.run_dir": path}))
        try:
            write_record(path, record)
            yield Trials(directory, record, observer, display)
        finally:
            directory.close()


def grid_trials(
    purpose: Purpose, settings: Settings, over: Mapping[str, Sequence[float]], display: Display
) -> AbstractContextManager[Trials]:
    """Hold a new folder of trials, one for each combination of values: `train.run_dir`, or one of the experiment's.

    Args:
        over: name of a setting -> its values.

    Raises:
        FaceparseError: something stands in the way of all trials. Nothing is left behind.
    """
    path = settings.train.run_dir or settings.experiment_dir / f"{purpose}-{new_name()}"
    space = [f"{key}=" + ",".join(f"{value:g}" for value in values) for key, values in over.items()]
    shared = chosen(override(settings, {"train.run_dir": None}))
    return new_trials(path, Record(shared, space, "grid", 0, None, purpose=purpose), display)


def fold_values(folds: int) -> dict[str, range]:
    """Setting whose values are all folds, for `grid_trials`."""
    return {"data.fold": range(1, folds + 1)}


@contextmanager
def open_trials(path: Path, purpose: Purpose, display: Display, *, wanted: int | None = None) -> Iterator[Trials]:
    """Hold a folder of trials, to go on with them as if they had never stopped.

    Args:
        wanted: total number of trials. Default: the earlier number.

    Raises:
        FaceparseError: there are no such trials, or something stands in the way of all.
    """
    there = read_record(path).purpose  # first, so that no lock file is left in a folder that holds no trials
    if there != purpose:
        raise SettingsError(f"{path}: holds {NOUNS[there]}; go on by: faceparse {COMMANDS[there]} --resume {path}")
    with display() as observer:
        directory = RunDirectory.reopen(path)
        try:
            record = read_record(path)
            record.wanted = wanted or record.wanted
            check_record(record, record.space(settings_from_dict(record.settings)), path)
            trials = Trials(directory, record, observer, display)
            if trials.upcoming() is not None:
                run.check(override(trials.settings, trials.space.example()), observer)
            yield trials
        finally:
            directory.close()


def best_tags(best: Trial) -> dict[str, str]:
    """Tags about the best trial, for the sweep's own run in MLflow."""
    run_id = {"best_run_id": best.run_id} if best.run_id else {}
    return {"best_trial": best.name, "best_score": f"{best.score:.6f}", **run_id}
