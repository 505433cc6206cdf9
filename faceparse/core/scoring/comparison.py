"""Comparison of checkpoints on the same images: where one is better than another, and whether it can be chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.names.model_file import SCHEME
from faceparse.core.scoring.bootstrap import Difference, difference
from faceparse.core.scoring.score_model import EvaluationPlan
from faceparse.core.scoring.summary import Evaluation, Summary


@dataclass(frozen=True)
class Comparison:
    """Two or more evaluations of the same images with the same protocols."""

    names: list[str]
    """Short, different names, in the order of the evaluations."""
    evaluations: list[Evaluation]
    differences: dict[str, list[dict[str, Difference]]]
    """Protocol -> one table for each evaluation but the first: score -> how much higher it is than the first's."""


def compare(evaluations: Sequence[Evaluation]) -> Comparison:
    """Compare each evaluation with the first."""
    first, *others = evaluations
    differences = {
        protocol: [compare_summaries(summary, other.summaries[protocol]) for other in others]
        for protocol, summary in first.summaries.items()
    }
    return Comparison(short_names([one.checkpoint for one in evaluations]), list(evaluations), differences)


def compare_summaries(first: Summary, other: Summary) -> dict[str, Difference]:
    """Score -> `other` minus `first`, on the same resamples."""
    return {
        name: difference(_less(other.scores.get(name), first.scores.get(name)), other.resampled[name] - resampled)
        for name, resampled in first.resampled.items()
    }


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def short_names(checkpoints: Sequence[str | Path]) -> list[str]:
    """Shortest ends of the paths that differ: `best.pth` and `last.pth`, or `run-1/best.pth` and `run-2/best.pth`.

    Raises:
        SettingsError: a checkpoint is named twice.
    """
    parts = [_parts(path) for path in checkpoints]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise SettingsError("a checkpoint is named twice; name each once")


def _parts(checkpoint: str | Path) -> tuple[str, ...]:
    parts = Path(checkpoint).absolute().parts
    # A registered model keeps its name: the version alone says nothing.
    return (*parts[:-2], "/".join(parts[-2:])) if str(checkpoint).startswith(SCHEME) else parts


def must_compare(plans: Sequence[EvaluationPlan]) -> None:
    """Check that the plans can be compared.

    Raises:
        CheckpointError: label sets differ.
        SettingsError: the checkpoints would be scored on different datasets, or one is named twice.
    """
    first, *others = plans
    short_names([plan.model.source for plan in plans])
    for other in others:
        ours, theirs = first.split, other.split
        if theirs.label_set.names != ours.label_set.names:
            raise CheckpointError(
                f"{other.model.source}: has the {len(theirs.label_set)} classes of {theirs.label_set.name}, "
                f"{first.model.source} the {len(ours.label_set)} of {ours.label_set.name}; "
                "compare checkpoints of one label set"
            )
        if theirs.root.resolve() != ours.root.resolve():
            raise SettingsError(
                f"{other.model.source} would be scored on {theirs.root}, {first.model.source} on {ours.root}; "
                "name one with --data-dir"
            )
