"""Run `faceparse eval`, from plans to files and MLflow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faceparse.core.files.writing import refuse_links_out
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.runs.database import present_uri
from faceparse.core.runs.tracking_record import Evaluated, InputDataset, Say, read_tracking
from faceparse.core.scoring.built_in_groups import photograph_groupings
from faceparse.core.scoring.comparison import Comparison, compare, must_compare, short_names
from faceparse.core.scoring.group_scores import flat_groups
from faceparse.core.scoring.groups_file import read_groups
from faceparse.core.scoring.report_files import comparison_files, evaluation_files, prepare_folder, write_folder
from faceparse.core.scoring.score_model import EvaluationPlan, score_checkpoint
from faceparse.core.scoring.split import Split, seen_in_training
from faceparse.core.scoring.summary import Evaluation

COMPARISON = "comparison"


@dataclass(frozen=True)
class EvaluationReport:
    """Results of all evaluations, and where they are."""

    evaluations: list[Evaluation]
    comparison: Comparison | None
    """None for a single checkpoint."""
    report: Path
    """The page to read first."""
    runs: list[str]
    """MLflow runs that received the scores."""


def run_evaluations(
    plans: Sequence[EvaluationPlan],
    *,
    device: torch.device,
    output: Path | None,
    batch_size: int | None,
    resamples: int,
    worst: int,
    groups: Path | None = None,
    warn: Say,
    track: Track = untracked,
) -> EvaluationReport:
    """Score each checkpoint, write a folder for each and one for the comparison, and log all to the checkpoints' runs.

    Args:
        groups: CSV file with more groupings of the photographs.

    Raises:
        OutputError: a folder cannot be written, or holds other files. This is found before the work where possible.
        SettingsError: the plans are not of the same photographs, or a checkpoint is named twice.
        DatasetError: a file is broken, or `groups` does not group the photographs.
    """
    must_compare([plan.model for plan in plans], [plan.split for plan in plans])
    split = plans[0].split  # all are scored on the same photographs
    own_groups = () if groups is None else read_groups(groups, split, warn=warn)
    folders = output_folders(plans, output)
    together = folders[0].with_name(f"{folders[0].name}.{COMPARISON}") if output is None else output / COMPARISON
    if output is None:  # beside checkpoints, which may be a stranger's
        for plan, folder in [*zip(plans, folders, strict=True), (plans[0], together)]:
            refuse_links_out(plan.model.home, folder)
    for folder in [*folders, together] if len(plans) > 1 else folders:
        prepare_folder(folder)
    warn_of_seen(split, [plan.model for plan in plans], warn)
    groupings = (*own_groups, *photograph_groupings(split.samples, split.label_set, track=track))
    evaluations, runs = [], []
    for plan, folder in zip(plans, folders, strict=True):
        evaluation = score_checkpoint(
            plan,
            device=device,
            batch_size=batch_size,
            resamples=resamples,
            worst=worst,
            groupings=groupings,
            track=track,
        )
        write_folder(folder, evaluation_files(evaluation))
        runs += [run] if (run := log_evaluation(plan, evaluation, folder, warn=warn)) else []
        evaluations.append(evaluation)
    if len(plans) == 1:
        return EvaluationReport(evaluations, None, folders[0] / "report.html", runs)
    comparison = compare(evaluations)
    write_folder(together, comparison_files(comparison))
    for plan in plans:
        if tracked := tracked_run(plan.model):
            from faceparse.core.runs.mlflow_store import log_folder  # MLflow takes seconds to import

            log_folder(*tracked, together, f"{plan.folder.as_posix()}.{COMPARISON}", warn=warn)
    return EvaluationReport(evaluations, comparison, together / "comparison.html", runs)


def warn_of_seen(split: Split, models: Sequence[TrainedModel], warn: Say) -> None:
    """Warn where photographs of the split are also in the folder's list of train, or were trained on as folds."""
    for model in models:
        if not (seen := seen_in_training(split, model)):
            continue
        where = f"{seen} of the {len(split.samples)} photographs of {split.root} {split.name}"
        if model.settings.data.folds is None:
            warn(f"{where} {'is' if seen == 1 else 'are'} also in its list of train; see faceparse check")
            return
        warn(
            f"{model.source}: was trained on {where}, in folds of train and val; its scores there say nothing of new "
            "photographs"
        )


def output_folders(plans: Sequence[EvaluationPlan], output: Path | None) -> list[Path]:
    """Output folder of each plan: beside its checkpoint, or `output`, with a folder in it for each of several."""
    if output is None:
        return [plan.model.home / plan.folder for plan in plans]
    if len(plans) == 1:
        return [output]
    return [output / name.replace("/", "_") for name in short_names([plan.model.source for plan in plans])]


def log_evaluation(plan: EvaluationPlan, evaluation: Evaluation, folder: Path, *, warn: Say) -> str | None:
    """Log the scores and the files in `folder` to the run that made the checkpoint. Return the run's id.

    None where there is no such run, or where MLflow cannot be reached. Then a warning says what happens to the scores.
    """
    run_dir, uri, run_id = plan.model.path.parent, tracked_at(plan.model), _run_id(plan.model)
    if uri is None or (run_id is None and read_tracking(run_dir) is None):
        return None
    from faceparse.core.runs import mlflow_store  # MLflow takes seconds to import
    from faceparse.core.runs.sync import leave_to_sync

    done = _evaluated(plan, evaluation, folder)
    unknown = "it does not know the run yet"
    problem = unknown if run_id is None else mlflow_store.log_evaluation(uri, run_id, done, warn=warn)
    if problem is None:
        return run_id
    if leave_to_sync(run_dir, run_id, done):
        warn(f"MLflow at {uri}: the scores are not delivered ({problem}); later: faceparse sync {run_dir}")
    else:
        warn(f"MLflow at {uri} failed, the scores are not logged there: {problem}")
    return None


def _evaluated(plan: EvaluationPlan, evaluation: Evaluation, folder: Path) -> Evaluated:
    root, split = evaluation.dataset.resolve(), evaluation.split
    label_set, images = evaluation.label_set.name, len(evaluation.ids)
    dataset = InputDataset(root.name, evaluation.fingerprint or "", str(root), split, images, label_set)
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    for protocol, scores in evaluation.scores.items():
        prefix = plan.name([protocol])
        groups = flat_groups(evaluation.summaries[protocol].groups)
        metrics |= {f"{prefix}/{name}": value for name, value in (scores.flat() | groups).items()}
        about = {
            "checkpoint": str(plan.model.path),
            "images": str(images),
            "dataset": dataset.name,
            "label_set": label_set,
            "protocol": protocol,
            "fingerprint": dataset.digest,
        }
        tags |= {f"{prefix}.{key}": value for key, value in about.items()}
    return Evaluated(plan.model.epoch or 0, metrics, tags, dataset, str(folder.resolve()), plan.folder.as_posix())


def tracked_run(model: TrainedModel) -> tuple[str, str] | None:
    """The store that tracks the model's run, and the run's id; None where it is not tracked."""
    uri, run_id = tracked_at(model), _run_id(model)
    return None if uri is None or run_id is None else (uri, run_id)


def tracked_at(model: TrainedModel) -> str | None:
    """The store of the model's run. If a database was moved together with the run directory, its new place."""
    uri = model.tracking_uri
    return None if uri is None else present_uri(uri, model.path.parent, model.run_id)


def _run_id(model: TrainedModel) -> str | None:
    """Id of the model's run in MLflow."""
    if model.run_id is not None or model.tracking_uri is None:
        return model.run_id
    tracking = read_tracking(model.path.parent)  # MLflow was away then; the run directory may have the id by now
    return tracking.run_id if tracking else None
