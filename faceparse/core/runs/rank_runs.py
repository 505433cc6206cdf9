"""Runs in MLflow: rank them, find one by name or id, compare them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faceparse.core.errors import SettingsError, TrackingError
from faceparse.core.labels.label_set import nearest
from faceparse.core.runs.database import database_file, is_local
from faceparse.core.runs.mlflow_failures import FAILURES, reason
from faceparse.core.runs.mlflow_run import LoggedRun
from faceparse.core.runs.mlflow_store import Store, mlflow_name
from faceparse.core.runs.tracking_record import TRACKING_FILE, read_tracking

PLACES = ("train.run_dir", "tracking.run_name")
"""Params that differ between any two runs, so their difference means nothing."""
ORIGIN = (
    "dataset",
    "label_set",
    "fingerprint.train",
    "fingerprint.val",
    "git commit",
    "git.dirty",
    "device",
    "pretrained",
)
"""Tags to compare runs by, too."""


@dataclass
class Ranked:
    """A run in a ranking, with the trials of a sweep below it."""

    run: LoggedRun
    score: float | None
    children: list["Ranked"] = field(default_factory=list)


@dataclass(frozen=True)
class RunComparison:
    """Differences between runs. Lists have one value per run, None where a run has none."""

    runs: list[LoggedRun]
    settings: dict[str, list[str | None]]
    """Settings that differ."""
    origin: dict[str, list[str | None]]
    """Data, code and machine, where they differ."""
    scores: dict[str, list[float | None]]

    def differences(self, name: str) -> list[float | None]:
        """Differences between the other runs' scores and the first run's."""
        first, *others = self.scores[name]
        return [None if first is None or other is None else other - first for other in others]


def rank_runs(uri: str, *, experiment: str | None = None, by: str | None = None) -> dict[str, list[Ranked]]:
    """Experiment -> its runs, the best first. Runs without a score come last; the newest experiment comes first.

    A run's score is that of its best.pth where the metric begins with `val/`, else the newest value.

    Args:
        by: a metric; None takes the one that chose each run's best.pth.

    Raises:
        TrackingError: the store cannot be read.
        SettingsError: there is no such experiment, or no run has that metric.
    """
    by = None if by is None else mlflow_name(by)
    with _reading(uri) as store:
        runs = store.runs(_experiments(store, experiment))
        if by is not None and not any(by in run.newest for run in runs):
            known = sorted({name for run in runs for name in run.newest})
            raise SettingsError(f"--by {by!r}: no run at {uri} has this metric{nearest(by, known)}")
        ranked = {run.id: Ranked(run, _score(store, run, by)) for run in runs}
    top: list[Ranked] = []
    for one in ranked.values():
        above = ranked.get(one.run.parent or "")
        (above.children if above else top).append(one)
    lower_is_better = by is not None and by.rpartition("/")[2].startswith("loss")
    for siblings in [top, *(one.children for one in ranked.values())]:
        siblings.sort(key=lambda one: one.run.started, reverse=True)  # among equals the newest first
    for one in ranked.values():
        one.children.sort(key=lambda child: _rank(child, lower_is_better))
        if one.children and one.score is None:
            one.score = one.children[0].score
    newest = dict.fromkeys(one.run.experiment for one in top)
    return {
        name: sorted((one for one in top if one.run.experiment == name), key=lambda one: _rank(one, lower_is_better))
        for name in newest
    }


def experiments(uri: str, *, warn: Callable[[str], None]) -> dict[str, str]:
    """Name -> id of the experiments that hold faceparse runs; empty where there is no database yet.

    Args:
        warn: called with a message when a database was moved; the database then names its new place.

    Raises:
        TrackingError: the store cannot be read.
    """
    if not _is_there(uri):
        return {}
    with _reading(uri, follow=True) as store:
        if store.moved:
            warn(store.moved)
        known = store.experiments()
        used = {run.experiment for run in store.runs(known)}
    return {name: id_ for id_, name in known.items() if name in used}


def compare_runs(references: Sequence[str], uri: str) -> RunComparison:
    """Compare runs by settings, origin and scores.

        comparison = compare_runs(["runs/celebamask/20260101-120000-ab12", "trial-003"], "sqlite:///mlflow.db")

    Args:
        references: for each run, a run directory or the beginning of its name or id.
        uri: store for references that are no run directories.

    Raises:
        TrackingError: a store cannot be read, or a run is not in it.
        SettingsError: a reference fits no run, or several.
    """
    runs = [find_run(reference, uri) for reference in references]
    for position, run in enumerate(runs):
        if run.id in {other.id for other in runs[:position]}:
            raise SettingsError(f"{references[position]}: run {run.short_id} is named twice; name two runs")
    scores = [_scores_of(run) for run in runs]
    names = sorted({name for of in scores for name in of}, key=_score_order)
    return RunComparison(
        runs,
        _differing([{key: value for key, value in run.params.items() if key not in PLACES} for run in runs]),
        _differing([_origin(run) for run in runs]),
        {name: [of.get(name) for of in scores] for name in names},
    )


def find_run(reference: str, uri: str) -> LoggedRun:
    """The run that a reference means. Raises as `compare_runs`."""
    folder = Path(reference)
    if (tracking := read_tracking(folder)) is not None:
        if tracking.run_id is None:
            raise TrackingError(f"{folder}: not in MLflow yet; first: faceparse sync {folder}")
        with _reading(tracking.uri) as store:
            return store.run(tracking.run_id)
    with _reading(uri) as store:
        runs = store.runs(store.experiments())
    for found in (
        [run for run in runs if run.name == reference],
        [run for run in runs if reference and (run.id.startswith(reference) or run.name.startswith(reference))],
    ):
        if len(found) > 1:
            ids = ", ".join(f"{run.short_id} ({run.experiment}/{run.name})" for run in found[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise SettingsError(
                f"{reference!r} could be {len(found)} runs: {ids}{more}; give the beginning of one's id"
            )
        if found:
            return found[0]
    if reference and folder.is_dir():
        raise TrackingError(f"{folder}: not tracked in MLflow (no {TRACKING_FILE} in it); name a run that is")
    hint = nearest(reference, [run.name for run in runs])
    raise SettingsError(f"{reference!r}: no run at {uri} has this name or id{hint}; see: faceparse runs")


@contextmanager
def _reading(uri: str, *, follow: bool = False) -> Iterator[Store]:
    if not _is_there(uri):
        raise TrackingError(
            f"{database_file(uri)}: no MLflow database there; train a run first, or name a store with --uri"
        )
    try:
        yield Store(uri, must_exist=True, follow=follow)
    except FAILURES as error:
        raise TrackingError(
            f"MLflow at {uri} cannot be read: {reason(error)}; start it, or name another store with --uri"
        ) from None


def _is_there(uri: str) -> bool:
    """Whether the store can exist: a database must be a file; a server may always be there."""
    return not is_local(uri) or database_file(uri).is_file()


def _experiments(store: Store, wanted: str | None) -> dict[str, str]:
    known = store.experiments()
    if wanted is None:
        return known
    found = {id_: name for id_, name in known.items() if name == wanted}
    if not found:
        raise SettingsError(f"--experiment {wanted!r}: not at {store.uri}{nearest(wanted, known.values())}")
    return found


def _score(store: Store, run: LoggedRun, by: str | None) -> float | None:
    name = by or mlflow_name(run.metric)
    if by is None and not run.is_sweep and (noted := run.tags.get("best_score")):
        return float(noted)
    return _at_best(store, run, name)


def _at_best(store: Store, run: LoggedRun, name: str) -> float | None:
    newest, best = run.newest.get(name), run.best_epoch
    if newest is None or best is None or newest.step == best or not name.startswith("val/"):
        return newest.value if newest else None
    return store.value_at(run.id, name, best)


def _scores_of(run: LoggedRun) -> dict[str, float]:
    with _reading(run.uri) as store:
        names = [name for name in run.newest if "/" in name and not name.startswith(("train/", "system/"))]
        return {name: value for name in names if (value := _at_best(store, run, name)) is not None}


def _rank(one: Ranked, lower_is_better: bool) -> tuple[bool, float]:
    score = one.score or 0.0
    return one.score is None, score if lower_is_better else -score


def _score_order(name: str) -> tuple[bool, str, int, str]:
    """Sort key: `val` first; within a split means, merged classes, classes, and last the rarer kinds of scores."""
    split, _, score = name.partition("/")
    kinds = ["f1_mean", "miou", "pixel_accuracy", "f1_merged", "f1", "iou"]
    kind = score.partition("/")[0]
    return split != "val", split, kinds.index(kind) if kind in kinds else len(kinds), score


def _origin(run: LoggedRun) -> dict[str, str]:
    tags = {**run.tags, "git commit": run.tags.get("mlflow.source.git.commit", "")[:10]}
    return {key: tags[key] for key in ORIGIN if tags.get(key)}


def _differing(of_runs: Sequence[Mapping[str, str]]) -> dict[str, list[str | None]]:
    keys = dict.fromkeys(key for of in of_runs for key in of)
    rows = {key: [of.get(key) for of in of_runs] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}
