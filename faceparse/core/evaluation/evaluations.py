"""`faceparse eval`, from plans to files and MLflow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faceparse.core.datasets.layout import fingerprint
from faceparse.core.evaluation.compare import Comparison, compare, must_compare, short_names
from faceparse.core.evaluation.outputs import comparison_files, evaluation_files, prepare_folder, write_folder
from faceparse.core.evaluation.score_checkpoint import Plan, score_checkpoint
from faceparse.core.evaluation.summary import Evaluation
from faceparse.core.model.trained import TrainedModel
from faceparse.core.parallel import Track, untracked
from faceparse.core.tracking.ledger import InputDataset, read_ledger
from faceparse.core.tracking.store import log_folder, log_scores

COMPARISON = "comparison"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    evaluations: list[Evaluation]
    comparison: Comparison | None
    """Of several checkpoints."""
    report: Path
    """The page to look at first."""
    runs: list[str]
    """MLflow runs that have it."""


def run_evaluations(
    plans: Sequence[Plan],
    *,
    device: torch.device,
    output: Path | None,
    batch_size: int | None,
    resamples: int,
    worst: int,
    warn: Say,
    track: Track = untracked,
) -> Outcome:
    """Score each, write a folder for each and one for their comparison, log all that to the checkpoints' runs.

    Raises:
        OutputError: a folder cannot be written, or holds other files; found before any work where it can be.
        SettingsError, CheckpointError: the checkpoints cannot be compared.
        DatasetError: a file is broken.
    """
    must_compare(plans)
    folders = output_folders(plans, output)
    together = folders[0].with_name(f"{folders[0].name}.{COMPARISON}") if output is None else output / COMPARISON
    for folder in [*folders, together] if len(plans) > 1 else folders:
        prepare_folder(folder)
    evaluations, runs = [], []
    for plan, folder in zip(plans, folders, strict=True):
        evaluation = score_checkpoint(
            plan, device=device, batch_size=batch_size, resamples=resamples, worst=worst, track=track
        )
        write_folder(folder, evaluation_files(evaluation))
        runs += [run] if (run := log_evaluation(plan, evaluation, folder, warn=warn)) else []
        evaluations.append(evaluation)
    if len(plans) == 1:
        return Outcome(evaluations, None, folders[0] / "report.html", runs)
    comparison = compare(evaluations)
    write_folder(together, comparison_files(comparison))
    for plan in plans:
        if tracked := tracked_run(plan.model):
            log_folder(*tracked, together, f"{plan.place.as_posix()}.{COMPARISON}", warn=warn)
    return Outcome(evaluations, comparison, together / "comparison.html", runs)


def output_folders(plans: Sequence[Plan], output: Path | None) -> list[Path]:
    """Of each plan: beside its checkpoint, or as told, with a folder for each of several."""
    if output is None:
        return [plan.model.home / plan.place for plan in plans]
    if len(plans) == 1:
        return [output]
    return [output / name.replace("/", "_") for name in short_names([Path(plan.model.source) for plan in plans])]


def log_evaluation(plan: Plan, evaluation: Evaluation, folder: Path, *, warn: Say) -> str | None:
    """Log the scores, and the files in `folder`, to the run that made the checkpoint; returns its id, or None where
    there is none.
    """
    if (tracked := tracked_run(plan.model)) is None:
        return None
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    root = evaluation.dataset.resolve()
    dataset = InputDataset(
        root.name,
        fingerprint(root, [evaluation.split])[evaluation.split],
        str(root),
        evaluation.split,
        len(evaluation.ids),
        evaluation.label_set.name,
    )
    for protocol, scores in evaluation.scores.items():
        prefix = plan.name([protocol])
        metrics |= {f"{prefix}/{name}": value for name, value in scores.flat().items()}
        about = {
            "checkpoint": str(plan.model.path),
            "images": str(dataset.images),
            "dataset": dataset.name,
            "label_set": dataset.label_set,
            "protocol": protocol,
            "fingerprint": dataset.digest,
        }
        tags |= {f"{prefix}.{key}": value for key, value in about.items()}
    logged = log_scores(*tracked, metrics, tags, plan.model.epoch or 0, dataset, warn=warn)
    return tracked[1] if logged and log_folder(*tracked, folder, plan.place.as_posix(), warn=warn) else None


def tracked_run(model: TrainedModel) -> tuple[str, str] | None:
    """Where the run that made it is tracked, and its id."""
    uri, run_id = model.tracking_uri, model.run_id
    if uri is not None and run_id is None:  # written while MLflow was away: its run directory may know by now
        ledger = read_ledger(model.path.parent)
        run_id = ledger.run_id if ledger else None
    return None if uri is None or run_id is None else (uri, run_id)
