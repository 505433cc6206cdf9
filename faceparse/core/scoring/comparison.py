"""Comparison of checkpoints on the same images: where one is better than another, and whether it can be chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceparse.core.errors import SettingsError
from faceparse.core.names.model_file import SCHEME
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.scoring.bootstrap import Difference, difference
from faceparse.core.scoring.group_scores import LEAST
from faceparse.core.scoring.scarce import scarce_classes
from faceparse.core.scoring.split import Split
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
    """Score -> `other` minus `first`, on the same resamples.

    A class that fewer than `LEAST` images have gets no interval and no p-value: resamples of so few hardly differ.
    """
    few = {one.name for one in scarce_classes(first.counts, first.label_set) if one.images < LEAST}
    found = {}
    for name, resampled in first.resampled.items():
        less = _less(other.scores.get(name), first.scores.get(name))
        told = name.rpartition("/")[2] not in few
        found[name] = difference(less, other.resampled[name] - resampled) if told else Difference(less, None, None)
    return found


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


def must_compare(models: Sequence[TrainedModel], splits: Sequence[Split]) -> None:
    """Check that models can be compared on their splits.

    Raises:
        SettingsError: the models would be scored on different datasets, or on labels that are read differently, or one
            is named twice.
    """
    short_names([model.source for model in models])
    first, ours = models[0], splits[0]
    for model, split in zip(models[1:], splits[1:], strict=True):
        if split.root.resolve() != ours.root.resolve():
            raise SettingsError(
                f"{model.source} would be scored on {split.root}, {first.source} on {ours.root}; "
                "name one with --data-dir"
            )
        if not split.label_set.agrees_with(ours.label_set):
            raise SettingsError(
                f"{split.root}: does not say what its labels mean: {split.label_set.name} for {model.source}, "
                f"{ours.label_set.name} for {first.source}; say it with --label-set"
            )
