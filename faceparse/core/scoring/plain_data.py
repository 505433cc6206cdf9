"""Evaluations as plain data, for programs and spreadsheets. `docs/evaluation.md` describes every key."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from faceparse.core.files.tables import csv_text
from faceparse.core.scoring.bootstrap import LEVEL, SEED, Difference, Interval
from faceparse.core.scoring.built_in_groups import NAMES
from faceparse.core.scoring.comparison import Comparison
from faceparse.core.scoring.group_scores import GroupedScores, GroupScores
from faceparse.core.scoring.groups import Cell
from faceparse.core.scoring.scarce import scarce_classes
from faceparse.core.scoring.scores import plain
from faceparse.core.scoring.summary import Evaluation, Summary


def evaluation_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Content of scores.json. The scores of a single protocol are at the top level; several protocols have objects."""
    protocols = {name: _summary_dict(summary) for name, summary in evaluation.summaries.items()}
    only = next(iter(protocols)) if len(protocols) == 1 else None
    scarce = scarce_classes(next(iter(evaluation.summaries.values())).counts, evaluation.label_set)
    return {
        "checkpoint": str(evaluation.checkpoint),
        "dataset": str(evaluation.dataset),
        "split": evaluation.split,
        **({"protocol": only} if only else {}),
        "images": len(evaluation.ids),
        **(protocols[only] if only else {"protocols": protocols}),
        "epoch": evaluation.epoch,
        "input_size": list(evaluation.input_size),
        "tta": evaluation.tta,
        "classes": list(evaluation.label_set.names),
        "label_set": evaluation.label_set.name,
        **({"mapped": evaluation.notes} if evaluation.notes else {}),
        "bootstrap": _bootstrap_dict(evaluation),
        "scarce": [one._asdict() for one in scarce],
        "worst": [{"id": one.id, "mean_f1": one.mean_f1} for one in evaluation.worst],
        **({"truth": {new: list(old) for new, old in evaluation.truth.items()}} if evaluation.truth else {}),
        "fingerprint": evaluation.fingerprint,
        "licence": evaluation.licence,
        "model_file": evaluation.model_file.model_dump() if evaluation.model_file else None,
        "speed": evaluation.speed.model_dump() if evaluation.speed else None,
        "finished": evaluation.finished.isoformat(timespec="seconds") if evaluation.finished else None,
    }


def comparison_dict(comparison: Comparison) -> dict[str, Any]:
    """Content of comparison.json."""
    first, *others = comparison.names
    return {
        "first": first,
        "bootstrap": _bootstrap_dict(comparison.evaluations[0]),
        "differences": {
            protocol: {name: _differences_dict(one) for name, one in zip(others, differences, strict=True)}
            for protocol, differences in comparison.differences.items()
        },
        "checkpoints": {
            name: evaluation_dict(one) for name, one in zip(comparison.names, comparison.evaluations, strict=True)
        },
    }


def images_csv(evaluation: Evaluation) -> str:
    """Content of images.csv: a line for each image and protocol. A cell is empty where the image lacks the class."""
    first = next(iter(evaluation.summaries.values()))
    names, groupings = list(first.images), [grouping.name for grouping in first.groupings]
    rows: list[list[object]] = [["protocol", "id", *map(_column, groupings), *names]]
    for protocol, summary in evaluation.summaries.items():
        cells = {grouping.name: grouping.cells(len(evaluation.ids)) for grouping in summary.groupings}
        for image, name in enumerate(evaluation.ids):
            scores = [plain(summary.images[score][image]) for score in names]
            rows.append([protocol, name, *(_rounded(cells[one][image]) for one in groupings), *scores])
    return csv_text(rows)


def _column(grouping: str) -> str:
    """Name of a grouping's column, which no score has."""
    return grouping if grouping in NAMES else f"group/{grouping}"


def _summary_dict(summary: Summary) -> dict[str, Any]:
    return {
        **_scores_dict(summary),
        "resampled_mean_f1": [plain(value) for value in summary.resampled["mean_f1"]],
        "confusion": summary.counts.sum().confusion.tolist(),
        "groups": {name: _groups_dict(grouped) for name, grouped in summary.groups.items()},
    }


def _groups_dict(grouped: GroupedScores) -> dict[str, Any]:
    return {
        "groups": [
            {"name": group.name, "from": group.low, "to": group.high, "images": len(group.images)} | _scores_dict(one)
            for one in grouped.groups
            for group in [one.group]
        ],
        "gaps": {
            name: {"worst": gap.worst, "best": gap.best} | _difference_dict(gap.difference)
            for name, gap in grouped.gaps.items()
        },
    }


def _rounded(value: Cell) -> Cell:
    return round(value, 4) if isinstance(value, float) else value


def _scores_dict(summary: Summary | GroupScores) -> dict[str, Any]:
    return {**asdict(summary.scores), "intervals": {name: list(one) for name, one in summary.intervals.items()}}


def _bootstrap_dict(evaluation: Evaluation) -> dict[str, Any]:
    summary = next(iter(evaluation.summaries.values()))
    drawn: dict[str, Any] = {}
    if summary.together is not None:
        digest = hashlib.sha256(summary.together.astype("<i8").tobytes()).hexdigest()[:16]
        drawn = {"groups": summary.drawn, "grouping": digest}
    return {"resamples": summary.resamples, "level": LEVEL, "seed": SEED, **drawn}


def _differences_dict(differences: Mapping[str, Difference]) -> dict[str, Any]:
    return {name: _difference_dict(one) for name, one in differences.items()}


def _difference_dict(one: Difference) -> dict[str, Any]:
    return {
        "difference": one.value,
        "interval": _list(one.interval),
        "p_value": one.p_value,
        "significant": one.significant,
    }


def _list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
