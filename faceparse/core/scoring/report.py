"""Evaluations and comparisons as HTML pages, for phones too."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.pages.html import data_uri, render
from faceparse.core.scoring.bootstrap import LEVEL, Difference, Interval
from faceparse.core.scoring.comparison import Comparison, short_names
from faceparse.core.scoring.image_thirds import Third
from faceparse.core.scoring.scores import AT, percent
from faceparse.core.scoring.summary import Evaluation, Summary

PICTURE_SIDE = 360
"""Longer side of the pictures in the page, in pixels."""
MOST_BARS = 20
BAR_WIDTHS = (1, 2, 5)
"""Widths of bars in percent, each a divisor of 100."""

MEANS = {
    "mean_f1": "mean F1",
    "mean_iou": "mean IoU",
    **{f"mean_{at}": f"mean boundary F1, {tolerance} px" for tolerance, at in AT.items()},
    "pixel_accuracy": "pixel accuracy",
}
"""Name -> words, for scores of all classes together."""


class Measure(NamedTuple):
    """How to show the thirds by one measure."""

    title: str
    column: str
    scale: int
    """Factor on values for display."""
    note: str


THIRDS = {
    "face_share": Measure(
        "how much of the photograph the face fills",
        "side, % of the photograph's",
        100,
        "Thirds of the images. Side of the square that has as many pixels as skin, eyes, nose and mouth in the truth.",
    ),
    "skin_lightness": Measure(
        "lightness of the skin",
        "L*",
        1,
        "Thirds of the images. Median CIE L* of the photograph where the truth is skin, from 0 (black) to 100 (white): "
        "of skin as it was lit and taken, not of the person.",
    ),
}
_SIZES_NOTE = "Side of the square that has as many pixels as the face in the truth: all that is not background."


class Row(NamedTuple):
    """Row of a table of classes."""

    name: str
    colour: str
    """Empty for merged classes and means."""
    score: str
    """F1 of a class, or a mean, by its name in `Scores.get`."""


def evaluation_page(evaluation: Evaluation) -> str:
    """Page with one checkpoint's scores by protocol, and its worst images."""
    return render(
        "evaluation.html",
        title=f"{evaluation.dataset.name} {evaluation.split}: {short_names([evaluation.checkpoint])[0]}",
        facts=_facts(evaluation),
        level=f"{LEVEL:.0%}",
        protocols=[_section(name, summary) for name, summary in evaluation.summaries.items()],
        legend=[{"name": name, "colour": colour} for name, colour in evaluation.label_set.classes.items()],
        worst=[
            {
                "truth": data_uri(one.truth, PICTURE_SIDE),
                "prediction": data_uri(one.prediction, PICTURE_SIDE),
                "caption": f"{one.id}: mean F1 {percent(one.mean_f1)}",
            }
            for one in evaluation.worst
        ],
    )


def comparison_page(comparison: Comparison) -> str:
    """Page that compares each checkpoint with the first."""
    first, *others = comparison.evaluations
    return render(
        "comparison.html",
        title=f"{first.dataset.name} {first.split}: {len(others) + 1} checkpoints",
        first={"name": comparison.names[0], **_facts(first)},
        level=f"{LEVEL:.0%}",
        tables=[
            {
                "protocol": protocol,
                "name": name,
                "checkpoint": "; ".join([str(other.checkpoint), *other.notes]),
                "rows": _compared(summary, other.summaries[protocol], differences),
            }
            for protocol, summary in first.summaries.items()
            for name, other, differences in zip(
                comparison.names[1:], others, comparison.differences[protocol], strict=True
            )
        ],
    )


def rows_of(label_set: LabelSet) -> list[Row]:
    """Rows for classes, merged classes and means."""
    classes = [Row(name, colour, f"f1/{name}") for name, colour in label_set.classes.items()]
    merged = [Row(f"{name} (merged)", "", f"f1/{name}") for name in label_set.merged]
    return [*classes, *merged, *(Row(words, "", name) for name, words in MEANS.items())]


def range_phrase(interval: Interval | None) -> str:
    """Interval in percent; empty for None."""
    return "" if interval is None else f"{100 * interval.low:.1f}\N{EN DASH}{100 * interval.high:.1f}"


def difference_phrase(difference: Difference) -> str:
    """Difference in percentage points."""
    return "absent" if difference.value is None else f"{100 * difference.value:+.2f}"


def difference_range(difference: Difference) -> str:
    """Interval of the difference in percentage points; empty for None."""
    interval = difference.interval
    return "" if interval is None else f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def p_phrase(difference: Difference) -> str:
    """The p-value, with a star where the difference is significant."""
    if difference.p_value is None:
        return ""
    return f"{difference.p_value:.3f}{' *' if difference.significant else ''}"


def side_phrase(low: float, high: float) -> str:
    """Range of face sides in words."""
    if low == 0:
        return f"below {high:g}"
    return f"{low:g} and more" if math.isinf(high) else f"{low:g} to {high:g}"


def third_phrase(measure: str, third: Third) -> str:
    """Range of a third's values, from the least to the greatest."""
    low, high = (f"{THIRDS[measure].scale * value:.0f}" for value in (third.low, third.high))
    return f"{low} to {high}"


def _facts(evaluation: Evaluation) -> dict[str, str]:
    height, width = evaluation.input_size
    trained = "" if evaluation.epoch is None else f", epoch {evaluation.epoch}"
    facts = {
        "checkpoint": f"{evaluation.checkpoint}{trained}",
        "dataset": f"{evaluation.dataset}, {evaluation.split}, {len(evaluation.ids)} images",
        "network sees": f"{width} x {height} pixels",
    }
    facts |= (
        {"classes": f"those of {evaluation.label_set.name}; {'; '.join(evaluation.notes)}"} if evaluation.notes else {}
    )
    return facts | ({"averaged over": evaluation.tta.removeprefix("tta-")} if evaluation.tta else {})


def _section(protocol: str, summary: Summary) -> dict[str, Any]:
    return {
        "name": protocol,
        "tiles": [_score(words, name, summary) for name, words in MEANS.items()],
        "boundaries": list(AT),
        "classes": [_class(row, summary) for row in rows_of(summary.label_set) if row.score not in MEANS],
        "confusion": _confusion(summary),
        "groups": _groups(summary),
        "histogram": _histogram(summary.images["mean_f1"]),
    }


def _groups(summary: Summary) -> list[dict[str, Any]]:
    """Tables of groups of images: by the side of the face, and in thirds."""
    sizes = [(side_phrase(*sides), faces) for sides, faces in summary.sizes.items()]
    tables = [("By face size", "side, pixels", _SIZES_NOTE, sizes)]
    for measure, thirds in summary.thirds.items():
        rows = [(third_phrase(measure, third), of) for third, of in thirds]
        tables.append((f"By {THIRDS[measure].title}", THIRDS[measure].column, THIRDS[measure].note, rows))
    return [
        {
            "title": title,
            "column": column,
            "note": note,
            "rows": [
                {
                    "name": name,
                    "images": len(of.counts),
                    "scores": [_score("", score, of) for score in ("mean_f1", "mean_iou", f"mean_{AT[2]}")],
                }
                for name, of in rows
            ],
        }
        for title, column, note, rows in tables
    ]


def _score(words: str, name: str, summary: Summary) -> dict[str, str]:
    return {
        "words": words,
        "value": percent(summary.scores.get(name)),
        "range": range_phrase(summary.intervals.get(name)),
    }


def _class(row: Row, summary: Summary) -> dict[str, Any]:
    """F1 with its interval, and the other scores, which merged classes do not have."""
    name = row.score.removeprefix("f1/")
    others = [f"iou/{name}", *(f"{at}/{name}" for at in AT.values())] if row.colour else []
    values = [percent(summary.scores.get(other)) for other in others] or [""] * (1 + len(AT))
    return {"name": row.name, "colour": row.colour, "f1": _score("", row.score, summary), "others": values}


def _confusion(summary: Summary) -> list[dict[str, Any]]:
    """Rows for the truth's classes: shares of the row in percent, and how strongly to colour them."""
    counts = summary.counts.sum().confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        {
            "name": name,
            "colour": colour,
            "cells": [{"share": f"{100 * x:.0f}" if x >= 0.005 else "", "paint": f"{75 * x**0.5:.0f}"} for x in row],
        }
        for (name, colour), row in zip(summary.label_set.classes.items(), shares.tolist(), strict=True)
    ]


def _histogram(means: np.ndarray) -> dict[str, Any]:
    """Bars of the images' mean F1, from the worst image's bin to 100 %.

    Bins are the finest for which few bars suffice.
    """
    there = 100 * means[~np.isnan(means)]
    lowest = float(there.min(initial=99.0))
    starts = {width: math.floor(lowest / width) * width for width in BAR_WIDTHS}
    width, start = next((w, start) for w, start in starts.items() if 100 - start <= MOST_BARS * w)
    edges = np.arange(start, 100 + width, width)
    counts, _ = np.histogram(there, edges)
    most = max(int(counts.max()), 1)
    bars = [
        {"label": f"{low} to {low + width} %: {count} images", "count": int(count), "height": 100 * int(count) / most}
        for low, count in zip(edges[:-1].tolist(), counts, strict=True)
    ]
    return {"bars": bars, "from": int(edges[0]), "width": width, "step": 100 / len(bars), "most": most}


def _compared(first: Summary, other: Summary, differences: Mapping[str, Difference]) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "colour": row.colour,
            "first": percent(first.scores.get(row.score)),
            "other": percent(other.scores.get(row.score)),
            "difference": difference_phrase(difference),
            "range": difference_range(difference),
            "p": p_phrase(difference),
            "tone": _tone(difference),
        }
        for row in rows_of(first.label_set)
        for difference in [differences[row.score]]
    ]


def _tone(difference: Difference) -> str:
    if not difference.significant or not difference.value:
        return ""
    return "good" if difference.value > 0 else "bad"
