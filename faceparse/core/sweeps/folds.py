"""Train a network for each fold of a small dataset, and make an ensemble of them.

Each photograph of train and val is scored by the network that did not see it.

runs/<experiment>/folds-<time>-<id>/
  settings.toml, sweep.json     as of a sweep, whose trials are the folds
  trial-001/ ...                a run for each fold
  out-of-fold/                  report.html, scores.json, images.csv: every photograph of train and val
  ensemble.json                 makes the folder a model
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faceparse.core.datasets.dataset_groups import group_numbers
from faceparse.core.datasets.layout import fingerprint_of
from faceparse.core.files.writing import write_atomic
from faceparse.core.labels.mapping import identity
from faceparse.core.names.model_file import ENSEMBLE_FILE
from faceparse.core.parser.ensemble_file import EnsembleModel, describe_ensemble, read_ensemble
from faceparse.core.runs.directory import BEST
from faceparse.core.runs.tracking_record import read_tracking
from faceparse.core.scoring.bootstrap import RESAMPLES
from faceparse.core.scoring.evaluation import log_evaluation
from faceparse.core.scoring.groups import by_words
from faceparse.core.scoring.model_facts import file_facts
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.report_files import evaluation_files, prepare_folder, write_folder
from faceparse.core.scoring.score_model import EvaluationPlan
from faceparse.core.scoring.split import Split
from faceparse.core.scoring.summary import Evaluation, Summary
from faceparse.core.scoring.tta import NONE
from faceparse.core.settings import Settings
from faceparse.core.sweeps.sweep_file import Trial
from faceparse.core.sweeps.trials import Trials, fold_values, grid_trials, open_trials
from faceparse.core.sweeps.unseen import Unseen, count_unseen
from faceparse.core.training.launch import Display

OUT_OF_FOLD = "out-of-fold"


@dataclass(frozen=True)
class FoldsResult:
    """Outcome of the training of all folds."""

    path: Path
    """The folder, which is also the ensemble's name."""
    trials: list[Trial]
    """One for each fold, in order."""
    evaluation: Evaluation
    """Scores of every photograph of train and val, by the network that was not trained on it."""
    report: Path
    """Its page."""


def train_folds(settings: Settings, display: Display) -> FoldsResult:
    """Train a network for each of `data.folds`, in a new folder: `train.run_dir`, or one of the experiment's.

    Raises:
        FaceparseError: something stands in the way. Nothing is left behind if no fold has begun.
        InterruptedRunError: a signal asked to stop; the fold's checkpoint is written.
    """
    assert settings.data.folds is not None
    with grid_trials("folds", settings, fold_values(settings.data.folds), display) as trials:
        return _execute(trials)


def resume_folds(path: Path, display: Display) -> FoldsResult:
    """Go on with folds, and with the one that was under way, as if they had never stopped.

    Raises:
        FaceparseError: there are no such folds, or something stands in the way.
        InterruptedRunError: a signal asked to stop; the fold's checkpoint is written.
    """
    with open_trials(path, "folds", display) as trials:
        return _execute(trials)


def _execute(trials: Trials) -> FoldsResult:
    with trials.tracked() as tracker:
        trials.train(tracker)
    path = trials.path
    checkpoints = [path / trial.name / BEST for trial in trials.record.trials]
    tracking = read_tracking(path)
    run_id, uri = (tracking.run_id, tracking.uri) if tracking else (None, None)
    write_atomic(path / ENSEMBLE_FILE, describe_ensemble(path, checkpoints, run_id=run_id, tracking_uri=uri))
    ensemble = read_ensemble(path / ENSEMBLE_FILE)
    prepare_folder(path / OUT_OF_FOLD)
    evaluation, split = _evaluate(ensemble, path, count_unseen(checkpoints, trials.observer.track))
    write_folder(path / OUT_OF_FOLD, evaluation_files(evaluation))
    plan = EvaluationPlan(ensemble, split, identity(split.label_set), [DEFAULT], evaluation.input_size, NONE)
    log_evaluation(plan, evaluation, path / OUT_OF_FOLD, warn=trials.observer.warning)
    return FoldsResult(path, trials.record.trials, evaluation, path / OUT_OF_FOLD / "report.html")


def _evaluate(ensemble: EnsembleModel, path: Path, unseen: Unseen) -> tuple[Evaluation, Split]:
    data = ensemble.settings.data
    words = [f"fold {number + 1}" for number in unseen.network]
    folds = by_words("fold", words, list(dict.fromkeys(words)))
    summary = Summary(unseen.counts, unseen.label_set, RESAMPLES, (folds,), group_numbers(data.root, unseen.samples))
    evaluation = Evaluation(
        checkpoint=str(path),
        epoch=None,
        dataset=data.root,
        split=OUT_OF_FOLD,
        input_size=data.input_size,
        tta="",
        label_set=unseen.label_set,
        ids=[sample.id for sample in unseen.samples],
        summaries={DEFAULT: summary},
        worst=[],
        notes=[],
        fingerprint=fingerprint_of(unseen.samples),
        licence=ensemble.licence,
        model_file=file_facts(ensemble.path, ensemble.files),
        finished=datetime.now(UTC),
    )
    return evaluation, Split(data.root, OUT_OF_FOLD, unseen.samples, unseen.label_set)
