"""Train many runs of one experiment, each with its own settings, in search of the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faceparse
from faceparse.core.errors import (
    DeviceError,
    FaceparseError,
    InterruptedRunError,
    OutputError,
    SettingsError,
)
from faceparse.core.machine.distributed import is_joined
from faceparse.core.runs.directory import BEST, LAST, RunDirectory, has_settings, new_name
from faceparse.core.runs.git import git_tags
from faceparse.core.runs.tracker import Tracker
from faceparse.core.settings import Settings, chosen, override, settings_from_dict
from faceparse.core.sweeps.proposals import check_sampler, propose
from faceparse.core.sweeps.space import parse_space
from faceparse.core.sweeps.sweep_file import (
    SWEEP_FILE,
    Record,
    Trial,
    best_of,
    check_record,
    is_sweep,
    ranked,
    read_record,
    write_record,
)
from faceparse.core.training import launch, run
from faceparse.core.training.launch import Display
from faceparse.core.training.observer import Observer
from faceparse.core.training.plan import adopt_start
from faceparse.core.training.run import RunResult


@dataclass(frozen=True)
class SweepResult:
    """Outcome of a sweep."""

    path: Path
    trials: list[Trial]
    """Finished trials, the best first, then failed ones."""

    @property
    def best(self) -> Path | None:
        """Best checkpoint of the best trial; None where no trial finished."""
        first = self.trials[0]
        return self.path / first.name / BEST if first.state == "finished" else None


def sweep(
    settings: Settings,
    over: Sequence[str],
    *,
    trials: int | None,
    sampler: str,
    seed: int,
    sweep_dir: Path | None,
    display: Display,
) -> SweepResult:
    """Train with settings from the space `over`, in a new sweep directory with a run directory for each trial.

    Args:
        over: texts that `parse_space` reads.
        trials: number of trials; None tries every combination.

    Raises:
        FaceparseError: something stands in the way of all trials. Nothing is left behind if none has begun.
        InterruptedRunError: a signal asked to stop; the trial's checkpoint is written.
    """
    space = parse_space(settings, over)
    check_sampler(sampler, space)
    if trials is None and space.size is None:
        raise SettingsError("--trials: say how many; a range of fractions has no last value")
    if settings.train.run_dir is not None:
        raise SettingsError(f"train.run_dir = '{settings.train.run_dir}': each trial has its own; write --sweep-dir")
    path = sweep_dir or settings.experiment_dir / f"sweep-{new_name()}"
    if is_sweep(path):
        raise OutputError(f"{path}: already holds a sweep; go on with it by --resume {path}, or choose another folder")
    if leftover := min(path.glob("trial-*"), default=None):
        raise OutputError(f"{leftover}: lies where the trials of a new sweep go; choose another folder")
    if is_joined() or settings.launch.nodes > 1:
        raise SettingsError("a sweep starts its runs itself, on one machine; start it without a launcher and --nodes")
    with display() as observer:
        run.check(override(settings, space.example()), observer)
        directory = RunDirectory.create(override(settings, {"train.run_dir": path}))
        try:
            record = Record(chosen(settings), list(over), sampler, seed, trials)
            write_record(path, record)
            return _Sweep(directory, record, observer, display).execute()
        finally:
            directory.close()


def resume(sweep_dir: Path, display: Display, *, trials: int | None = None) -> SweepResult:
    """Go on with a sweep, and with the trial that was under way, as if they had never stopped.

    Args:
        trials: total number of trials; None keeps the earlier number.

    Raises:
        FaceparseError: there is no such sweep, or something stands in the way of all trials.
        InterruptedRunError: a signal asked to stop; the trial's checkpoint is written.
    """
    read_record(sweep_dir)  # first, so that no lock file is left in a folder that is no sweep
    with display() as observer:
        directory = RunDirectory.reopen(sweep_dir)
        try:
            record = read_record(sweep_dir)
            record.wanted = trials or record.wanted
            check_record(record, parse_space(settings_from_dict(record.settings), record.over), sweep_dir)
            one = _Sweep(directory, record, observer, display)
            if one.upcoming() is not None:
                run.check(override(one.settings, one.space.example()), observer)
            return one.execute()
        finally:
            directory.close()


class _Sweep:
    def __init__(self, directory: RunDirectory, record: Record, observer: Observer, display: Display) -> None:
        self.directory, self.record = directory, record
        self.observer, self.display = observer, display
        self.settings = settings_from_dict(record.settings)
        self.space = parse_space(self.settings, record.over)

    def execute(self) -> SweepResult:
        with self._tracked() as tracker:
            while (trial := self.upcoming()) is not None:
                self._try(trial, tracker)
            tracker.upload(self.directory.path / SWEEP_FILE)
        failed = [trial for trial in self.record.trials if trial.state == "failed"]
        return SweepResult(self.directory.path, ranked(self.record.trials) + failed)

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
        write_record(self.directory.path, self.record)
        return trials[-1]

    def _try(self, trial: Trial, tracker: Tracker) -> None:
        total = min(count for count in (self.record.wanted, self.space.size) if count is not None)
        params = ", ".join(f"{key} = {value}" for key, value in trial.params.items())
        self.observer.message(f"{trial.name} of {total}: {params}")
        try:
            result = self._train(trial)
        except InterruptedRunError as stop:
            go_on = f"faceparse sweep --resume {self.directory.path}"
            raise InterruptedRunError(f"{trial.name} {stop}; the whole sweep: {go_on}", stop.exit_code) from None
        except (OutputError, DeviceError):  # the next trial would also find a full disk or no GPU
            raise
        except FaceparseError as error:
            trial.state, trial.error = "failed", str(error)
            self.observer.warning(f"{trial.name} failed, the sweep goes on: {error}")
        else:
            trial.state, trial.score, trial.best_epoch = "finished", result.best_score, result.best_epoch
            trial.run_id = result.run_id
            self._report(trial, tracker)
        write_record(self.directory.path, self.record)

    def _train(self, trial: Trial) -> RunResult:
        folder = self.directory.path / trial.name
        own = {"train.run_dir": folder, "tracking.run_name": trial.name}
        settings = override(self.settings, {**trial.params, **own})
        if not (folder / LAST).exists():
            return launch.start(launch.Job(settings, self.display))
        if not has_settings(folder, adopt_start(settings, self.observer)):
            raise OutputError(
                f"{folder}: holds a run with other settings than those of this trial; remove the folder, or begin "
                "another sweep with --sweep-dir NEW_FOLDER"
            )
        return launch.start(launch.resume_job(folder, self.display, {}))

    def _report(self, trial: Trial, tracker: Tracker) -> None:
        """Record the score of a finished trial. The trial's number is the step."""
        best = best_of(self.record.trials)
        assert best is not None
        assert trial.score is not None
        assert best.score is not None
        self.directory.forget_after(trial.number - 1)  # left by a try that was killed before its record
        self.directory.record(trial.number, {"score": trial.score, "best_score": best.score})
        tracker.deliver()
        tracker.tag(best_tags(best))

    def _tracked(self) -> Tracker:
        over = dict(text.split("=", 1) for text in self.record.over)
        return Tracker.start(
            self.settings.tracking,
            self.directory.path,
            self.directory.metrics,
            params={**over, "sweep.sampler": self.record.sampler, "sweep.seed": self.record.seed},
            tags={
                "mlflow.source.name": "faceparse sweep",
                "mlflow.source.type": "LOCAL",
                "dataset": self.settings.data.root.name,
                "run_dir": str(self.directory.path.resolve()),
                "faceparse": faceparse.__version__,
                **git_tags(Path.cwd()),
            },
            warn=self.observer.warning,
            say=self.observer.message,
        )


def best_tags(best: Trial) -> dict[str, str]:
    """Tags about the best trial, for the sweep's own run in MLflow."""
    run_id = {"best_run_id": best.run_id} if best.run_id else {}
    return {"best_trial": best.name, "best_score": f"{best.score:.6f}", **run_id}
