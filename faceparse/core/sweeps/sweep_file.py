"""sweep.json: settings and progress of a sweep, of folds, or of a learning curve."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from faceparse.core.errors import SettingsError
from faceparse.core.files.writing import write_atomic
from faceparse.core.settings import Settings
from faceparse.core.sweeps.space import SHARED, Params, Space, parse_space
from faceparse.core.text.shapes import parse_json_as

SWEEP_FILE = "sweep.json"
Purpose = Literal["sweep", "folds", "curve"]
"""Use of the trials: to find the best settings, or to train all networks of folds or of a learning curve."""
COMMANDS: dict[Purpose, str] = {"sweep": "sweep", "folds": "train", "curve": "curve"}
"""Command that goes on with the trials by --resume."""
NOUNS: dict[Purpose, str] = {"sweep": "a sweep", "folds": "folds", "curve": "a curve"}
"""Name of what a folder of trials holds, in messages."""


@dataclass
class Trial:
    """One trial of a sweep."""

    number: int
    """Counts from 1."""
    params: Params
    state: Literal["begun", "finished", "failed"] = "begun"
    score: float | None = None
    best_epoch: int | None = None
    run_id: str | None = None
    """Id of its run in MLflow, where it is known."""
    error: str | None = None

    @property
    def name(self) -> str:
        """Name of its run and its run directory."""
        return f"trial-{self.number:03d}"


@dataclass
class Record:
    """Content of sweep.json."""

    settings: dict[str, Any]
    """Settings that the user set; all trials share them."""
    over: list[str]
    sampler: str
    seed: int
    wanted: int | None
    """Total number of trials; None is every combination, once."""
    trials: list[Trial] = field(default_factory=list)
    """Trials in order. Only the last can be unfinished."""
    purpose: Purpose = "sweep"

    def space(self, settings: Settings) -> Space:
        """The space that the trials are from."""
        return parse_space(settings, self.over, SHARED if self.purpose == "sweep" else ())


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The first trial with the highest score; None where no trial finished."""
    return ranked(trials)[0] if ranked(trials) else None


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Finished trials, the best first."""
    return sorted((trial for trial in trials if trial.state == "finished"), key=lambda trial: -(trial.score or 0.0))


def is_sweep(folder: Path) -> bool:
    """Whether the folder is a sweep directory."""
    return (folder / SWEEP_FILE).is_file()


def read_record(folder: Path) -> Record:
    """Read sweep.json.

    Raises:
        SettingsError: there is none, or it is damaged.
    """
    path = folder / SWEEP_FILE
    try:
        return parse_json_as(Record, path.read_bytes())
    except FileNotFoundError:
        raise SettingsError(
            f"{folder}: not a sweep directory (no {SWEEP_FILE} in it); one is runs/<experiment>/sweep-<time>-<id>"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); put it back, or begin a new sweep") from None


def write_record(folder: Path, record: Record) -> None:
    """Write sweep.json."""
    write_atomic(folder / SWEEP_FILE, json.dumps(asdict(record), indent=1).encode())


def check_record(record: Record, space: Space, folder: Path) -> None:
    """Refuse a record that no sweep of `space` has written.

    Raises:
        SettingsError: it was edited.
    """
    known = {axis.key: axis for axis in space.axes}
    problem = ""
    if record.wanted is not None and record.wanted < 1:
        problem = f"wanted = {record.wanted}"
    for number, trial in enumerate(record.trials, 1):
        last = number == len(record.trials)
        if trial.number != number:
            problem = f"trial {trial.number} stands in place {number}"
        elif trial.params.keys() != known.keys():
            problem = f"{trial.name} has other settings than {', '.join(known)}"
        elif bad := next((key for key, value in trial.params.items() if not known[key].has(value)), None):
            problem = f"{trial.name} has {bad} = {trial.params[bad]!r}, which the sweep does not try"
        elif trial.state == "finished" and (trial.score is None or not math.isfinite(trial.score)):
            problem = f"{trial.name} is finished with the score {trial.score}"
        elif trial.state == "begun" and not last:
            problem = f"{trial.name} is not finished, but later ones have begun"
    if problem:
        raise SettingsError(f"{folder / SWEEP_FILE}: {problem}; put the file back, or begin a new sweep")
