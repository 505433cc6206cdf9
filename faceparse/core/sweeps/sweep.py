"""Train many runs of one experiment, each with its own settings, in search of the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceparse.core.errors import SettingsError
from faceparse.core.runs.directory import BEST, new_name
from faceparse.core.settings import Settings, chosen
from faceparse.core.sweeps.proposals import check_sampler
from faceparse.core.sweeps.space import parse_space
from faceparse.core.sweeps.sweep_file import Record, Trial, ranked
from faceparse.core.sweeps.trials import Trials, new_trials, open_trials
from faceparse.core.training.launch import Display


@dataclass(frozen=True)
class SweepResult:
    """Outcome of a sweep."""

    path: Path
    trials: list[Trial]
    """Finished trials, the best first, then failed ones."""
    data_root: Path
    """Dataset that they were trained on."""

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
    with new_trials(path, Record(chosen(settings), list(over), sampler, seed, trials), display) as running:
        return _execute(running)


def resume(sweep_dir: Path, display: Display, *, trials: int | None = None) -> SweepResult:
    """Go on with a sweep, and with the trial that was under way, as if they had never stopped.

    Args:
        trials: total number of trials; None keeps the earlier number.

    Raises:
        FaceparseError: there is no such sweep, or something stands in the way of all trials.
        InterruptedRunError: a signal asked to stop; the trial's checkpoint is written.
    """
    with open_trials(sweep_dir, "sweep", display, wanted=trials) as running:
        return _execute(running)


def _execute(running: Trials) -> SweepResult:
    with running.tracked() as tracker:
        running.train(tracker)
    trials = running.record.trials
    order = ranked(trials) + [trial for trial in trials if trial.state == "failed"]
    return SweepResult(running.path, order, running.settings.data.root)
