"""A learning curve: train on growing shares of the photographs, and say whether more labels would help.

runs/<experiment>/curve-<time>-<id>/
  settings.toml, sweep.json     as of a sweep, whose trials are the shares, or the shares of each fold
  trial-001/ ...                a run for each
  curve.html, curve.json        the scores
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceparse.core.datasets.dataset_groups import group_numbers
from faceparse.core.errors import SettingsError
from faceparse.core.files.writing import write_atomic
from faceparse.core.runs.directory import BEST
from faceparse.core.scoring.bootstrap import RESAMPLES, Difference, Interval, difference
from faceparse.core.scoring.summary import Summary
from faceparse.core.settings import Settings
from faceparse.core.sweeps.curve_page import curve_page
from faceparse.core.sweeps.sweep_file import Trial
from faceparse.core.sweeps.trials import Trials, fold_values, grid_trials, open_trials
from faceparse.core.sweeps.unseen import count_unseen
from faceparse.core.training.launch import Display

SHARES = (0.25, 0.5, 0.75, 1.0)
PAGE, DATA = "curve.html", "curve.json"
FEWEST = 10
"""Scored groups of photographs below which an interval says little."""


@dataclass(frozen=True)
class Point:
    """One share of the photographs."""

    share: float
    trained_on: tuple[int, int]
    """Fewest and most photographs that its networks were trained on: they differ where there are folds."""
    score: float
    """Mean F1 on photographs that the networks were not trained on."""
    interval: Interval | None

    @property
    def trained(self) -> str:
        """Number of photographs that its networks were trained on, such as `9` or `9 to 10`."""
        fewest, most = self.trained_on
        return str(fewest) if fewest == most else f"{fewest} to {most}"

    @property
    def photographs(self) -> float:
        """Mean number of photographs that its networks were trained on."""
        return sum(self.trained_on) / 2


@dataclass(frozen=True)
class Curve:
    """Outcome of a learning curve."""

    path: Path
    points: list[Point]
    """By growing share."""
    scored: int
    """Number of photographs that each score is of."""
    groups: int
    """Number of groups of them."""
    rise: Difference
    """How much the score rose from `start` to the largest share."""
    start: Point
    """The largest share of at most half the photographs, else the last share but one."""

    @property
    def verdict(self) -> str:
        """Sentence that says whether more labels would help."""
        return judge(self.start, self.points[-1], self.rise, self.groups)


def train_curve(settings: Settings, shares: Sequence[float], display: Display) -> Curve:
    """Train on each share of the photographs, in a new folder: `train.run_dir`, or one of the experiment's.

    With `data.folds`, each share is trained once for each fold, and each score is of all photographs of train and val.

    Raises:
        FaceparseError: something stands in the way. Nothing is left behind if no run has begun.
        InterruptedRunError: a signal asked to stop; the run's checkpoint is written.
    """
    if len(shares) < 2 or list(shares) != sorted(set(shares)) or not 0 < shares[0] <= shares[-1] <= 1:
        text = ",".join(f"{share:g}" for share in shares)
        raise SettingsError(f"--shares {text}: give at least two, growing, above 0 and up to 1, such as 0.25,0.5,1")
    if settings.data.fold is not None:
        raise SettingsError(f"data.fold = {settings.data.fold}: a curve trains all folds; drop it")
    over = {"data.share": shares, **(fold_values(settings.data.folds) if settings.data.folds else {})}
    with grid_trials("curve", settings, over, display) as trials:
        return _execute(trials)


def resume_curve(path: Path, display: Display) -> Curve:
    """Go on with a curve, and with the run that was under way, as if they had never stopped.

    Raises:
        FaceparseError: there is no such curve, or something stands in the way.
        InterruptedRunError: a signal asked to stop; the run's checkpoint is written.
    """
    with open_trials(path, "curve", display) as trials:
        return _execute(trials)


def judge(start: Point, end: Point, rise: Difference, groups: int) -> str:
    """Sentence that says whether more labels would help, as far as the interval of the rise allows.

    Args:
        groups: number of groups of photographs that the scores are of.
    """
    trained = f"with {end.trained} training photographs in place of {start.trained}"
    if rise.value is None or rise.interval is None:
        return f"Nothing can be said of more labels: no class occurs in the scored photographs ({trained})."
    low, high = (100 * bound for bound in rise.interval)
    change = f"{trained}, mean F1 changes by {100 * rise.value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"
    if groups < FEWEST:
        return (
            f"Whether more labels would help cannot be said: only {groups} photographs or people are scored; {change}. "
            "Score more of them with --folds."
        )
    if low > 0:
        return f"More labels would probably help: {change}."
    if high < 0:
        return f"More labels of this kind do not help: {change}."
    return f"Whether more labels would help is open: {change}, which chance explains, too."


def half_of(points: Sequence[Point]) -> Point:
    """The largest share of at most half of the last one, else the last but one."""
    halves = [point for point in points[:-1] if point.share <= points[-1].share / 2]
    return halves[-1] if halves else points[-2]


def _execute(trials: Trials) -> Curve:
    with trials.tracked() as tracker:
        trials.train(tracker)
        curve = _measure(trials)
        write_atomic(trials.path / DATA, (json.dumps(_plain(curve), indent=1) + "\n").encode())
        rows = [(point.photographs, point.trained, point.score, point.interval) for point in curve.points]
        write_atomic(trials.path / PAGE, curve_page(str(trials.path), rows, curve.scored, curve.verdict).encode())
        for name in (DATA, PAGE):
            tracker.upload(trials.path / name)
        tracker.tag({"verdict": curve.verdict})
    return curve


def _measure(trials: Trials) -> Curve:
    root = trials.settings.data.root
    by_share: dict[float, list[Trial]] = {}
    for trial in trials.record.trials:
        by_share.setdefault(float(trial.params["data.share"]), []).append(trial)
    summaries: dict[float, Summary] = {}
    points = []
    for share, ones in sorted(by_share.items()):
        unseen = count_unseen([trials.path / one.name / BEST for one in ones], trials.observer.track)
        summary = Summary(unseen.counts, unseen.label_set, RESAMPLES, (), group_numbers(root, unseen.samples))
        trained_on = (min(unseen.trained_on), max(unseen.trained_on))
        points.append(Point(share, trained_on, summary.scores.mean_f1, summary.intervals.get("mean_f1")))
        summaries[share] = summary
    start, end = half_of(points), points[-1]
    # The same photographs in the same order, and the same resamples of them: their differences have an interval.
    drawn = summaries[end.share].resampled["mean_f1"] - summaries[start.share].resampled["mean_f1"]
    last = summaries[end.share]
    groups = last.drawn or len(last.counts)
    return Curve(trials.path, points, len(last.counts), groups, difference(end.score - start.score, drawn), start)


def _plain(curve: Curve) -> dict[str, object]:
    return {
        "points": [
            {
                "share": point.share,
                "trained_on": list(point.trained_on),
                "mean_f1": point.score,
                "interval": point.interval,
            }
            for point in curve.points
        ],
        "scored": curve.scored,
        "groups": curve.groups,
        "rise": {"from": curve.start.share, "difference": curve.rise.value, "interval": curve.rise.interval},
        "verdict": curve.verdict,
    }
