"""Evaluations as plain data, for programs and spreadsheets. `docs/evaluation.md` describes every key."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from faceparse.core.scoring.bootstrap import LEVEL, SEED, Difference, Interval
from faceparse.core.scoring.comparison import Comparison
from faceparse.core.scoring.scores import plain
from faceparse.core.scoring.summary import Evaluation, Summary


def evaluation_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Content of scores.json. The scores of a single protocol are at the top level; several protocols have objects."""
    protocols = {name: _summary_dict(summary) for name, summary in evaluation.summaries.items()}
    only = next(iter(protocols)) if len(protocols) == 1 else None
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
        "worst": [{"id": one.id, "mean_f1": one.mean_f1} for one in evaluation.worst],
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
    names, measures = list(first.images), list(first.measures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "id", "face_side", *measures, *names])
    for protocol, summary in evaluation.summaries.items():
        for image, name in enumerate(evaluation.ids):
            measured = [_rounded(summary.measures[measure][image]) for measure in measures]
            scores = [plain(summary.images[score][image]) for score in names]
            writer.writerow([protocol, name, round(float(summary.face_sides[image]), 1), *measured, *scores])
    return text.getvalue()


def _summary_dict(summary: Summary) -> dict[str, Any]:
    return {
        **_scores_dict(summary),
        "confusion": summary.counts.sum().confusion.tolist(),
        "face_sizes": [
            {"from": low, "below": None if math.isinf(high) else high, "images": len(faces.counts)}
            | _scores_dict(faces)
            for (low, high), faces in summary.sizes.items()
        ],
        "thirds": {
            measure: [
                {"from": third.low, "to": third.high, "images": len(third.images)} | _scores_dict(of)
                for third, of in thirds
            ]
            for measure, thirds in summary.thirds.items()
        },
    }


def _rounded(value: np.floating) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _scores_dict(summary: Summary) -> dict[str, Any]:
    return {**asdict(summary.scores), "intervals": {name: list(one) for name, one in summary.intervals.items()}}


def _bootstrap_dict(evaluation: Evaluation) -> dict[str, Any]:
    resamples = next(iter(evaluation.summaries.values())).resamples
    return {"resamples": resamples, "level": LEVEL, "seed": SEED}


def _differences_dict(differences: Mapping[str, Difference]) -> dict[str, Any]:
    return {
        name: {
            "difference": one.value,
            "interval": _list(one.interval),
            "p_value": one.p_value,
            "significant": one.significant,
        }
        for name, one in differences.items()
    }


def _list(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)
