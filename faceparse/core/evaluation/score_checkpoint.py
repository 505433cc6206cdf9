"""A checkpoint over a dataset split, from files to scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faceparse.core.evaluation.evaluate import evaluate
from faceparse.core.evaluation.protocols import DEFAULT, resolve_protocols
from faceparse.core.evaluation.scores import Scores, compute_scores
from faceparse.core.evaluation.split import find_split
from faceparse.core.inference import load_parser
from faceparse.core.model.trained import TrainedModel
from faceparse.core.parallel import Track, default_processes, untracked
from faceparse.core.tracking.ledger import read_ledger
from faceparse.core.tracking.store import log_scores


@dataclass(frozen=True)
class Evaluation:
    """Scores by protocol, and what they are of."""

    checkpoint: Path
    dataset: Path
    split: str
    input_size: tuple[int, int]
    images: int
    scores: dict[str, Scores]


def score_checkpoint(
    checkpoint: TrainedModel,
    *,
    device: torch.device,
    data_dir: Path | None = None,
    split: str = "test",
    protocols: Sequence[str] = (DEFAULT,),
    batch_size: int | None = None,
    input_size: tuple[int, int] | None = None,
    dataset: str | None = None,
    num_classes: int | None = None,
    track: Track = untracked,
) -> Evaluation:
    """Everything that is not given is taken from the checkpoint.

    Raises:
        SettingsError, DatasetError, CheckpointError: something does not exist or does not fit together.
    """
    names = resolve_protocols(protocols)
    found = find_split(checkpoint, data_dir=data_dir, split=split, dataset=dataset, num_classes=num_classes)
    parser = load_parser(checkpoint, device, input_size)
    confusions = evaluate(
        parser,
        found.samples,
        len(found.label_set),
        names,
        batch_size=batch_size or 4,
        workers=min(default_processes(), 8, len(found.samples) // 4),
        track=track,
    )
    scores = {name: compute_scores(confusion, found.label_set) for name, confusion in confusions.items()}
    return Evaluation(checkpoint.path, found.root, split, parser.input_size, len(found.samples), scores)


def log_evaluation(checkpoint: TrainedModel, evaluation: Evaluation, *, warn: Callable[[str], None]) -> str | None:
    """Log the scores to the run that made the checkpoint; returns its id, or None where there is none."""
    uri, run_id = checkpoint.tracking_uri, checkpoint.run_id
    if uri is not None and run_id is None:  # written while MLflow was away: its run directory may know by now
        ledger = read_ledger(checkpoint.path.parent)
        run_id = ledger.run_id if ledger else None
    if uri is None or run_id is None:
        return None
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    for protocol, scores in evaluation.scores.items():
        prefix = _prefix(checkpoint, evaluation, protocol)
        metrics |= {f"{prefix}/{name}": value for name, value in scores.flat().items()}
        tags |= {f"{prefix}.checkpoint": str(checkpoint.path), f"{prefix}.images": str(evaluation.images)}
    return run_id if log_scores(uri, run_id, metrics, tags, checkpoint.epoch or 0, warn=warn) else None


def _prefix(checkpoint: TrainedModel, evaluation: Evaluation, protocol: str) -> str:
    """The plain name is for the run's own dataset, input size and the default protocol: what charts compare."""
    trained = checkpoint.settings.data
    parts = [
        "" if evaluation.dataset.resolve() == trained.root.resolve() else f"{evaluation.dataset.name}.",
        evaluation.split,
        "" if protocol == DEFAULT else f".{protocol}",
        ""
        if evaluation.input_size == trained.input_size
        else f".{evaluation.input_size[0]}x{evaluation.input_size[1]}",
    ]
    return "".join(parts)
