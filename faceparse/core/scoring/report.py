"""Evaluations and comparisons as HTML pages, for phones too."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from faceparse.core.datasets.dataset_groups import GROUPS_FILE
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.pages.html import data_uri, render
from faceparse.core.scoring.bootstrap import LEVEL, Difference, Interval
from faceparse.core.scoring.built_in_groups import LIGHT, TURNED, YELLOW
from faceparse.core.scoring.comparison import Comparison, short_names
from faceparse.core.scoring.group_scores import LEAST, Gap, GroupedScores, GroupScores
from faceparse.core.scoring.groups import Group, span_phrase
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


class About(NamedTuple):
    """How to show one grouping."""

    title: str
    column: str
    note: str
    scale: int = 1
    """Factor on values for display."""


_THIRDS = "Three groups of about equal number."
_LIT = "It is the skin as it was lit and taken, not the person's."
ABOUT = {
    "skin_lightness": About(
        "lightness of the skin",
        "L*",
        f"{_THIRDS} Median CIE L* of the photograph where the truth is skin, from 0 (black) to 100 (white). {_LIT}",
    ),
    "skin_hue": About(
        "hue of the skin",
        "hue angle, degrees",
        f"{_THIRDS} CIE hue angle of the mean colour where the truth is skin: 0 is red, 90 yellow. {_LIT} Photographs "
        "in black and white are in no group.",
    ),
    "skin_colour": About(
        "lightness and hue of the skin",
        "skin",
        f"Light from L* {LIGHT:g}, yellow from a hue angle of {YELLOW:g} degrees (Thong et al., ICCV 2023).",
    ),
    "nose_offset": About(
        "turn of the head",
        "turn, as the viewer sees it",
        f"Turned: the nose is {TURNED:g} eye distances or more beside the middle of the eyes, along the line through "
        "them. Faces whose truth lacks an eye, nose or mouth are in no group: profiles, and eyes behind glasses.",
    ),
    "face_side": About(
        "face size",
        "side, pixels",
        "Side of the square that has as many pixels as the face in the truth: all that is not background.",
    ),
    "face_share": About(
        "how much of the photograph the face fills",
        "side, % of the photograph's",
        f"{_THIRDS} Side of the square that has as many pixels as skin, eyes, nose and mouth in the truth.",
        100,
    ),
}
"""The built-in groupings, by their names."""

TOO_FEW = "too few images"
"""In place of a gap."""


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


def about(grouping: str) -> About:
    """How to show a grouping, by its name."""
    return ABOUT.get(grouping) or About(grouping, grouping, "A column of the file of --groups.")


def group_phrase(grouping: str, group: Group) -> str:
    """Name of a group, with the bounds of its values where the name does not say them."""
    span = span_phrase(group.low, group.high, about(grouping).scale)
    return f"{group.name} ({span})" if span not in ("", group.name) else group.name


def gap_phrases(gap: Gap | None) -> tuple[str, str, str, str, str]:
    """Gap in percentage points, its interval, its p-value, worst and best group; empty texts where unknown."""
    if gap is None:
        return TOO_FEW, "", "", "", ""
    difference = gap.difference
    size = "" if difference.value is None else f"{100 * difference.value:.2f}"
    return size, difference_range(difference), p_phrase(difference), gap.worst, gap.best


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
        "scarce": summary.scarce,
        "drawn": "images" if summary.drawn is None else f"{summary.drawn} groups of {GROUPS_FILE}, each drawn whole",
        "tiles": [_score(words, name, summary) for name, words in MEANS.items()],
        "boundaries": list(AT),
        "classes": [_class(row, summary) for row in rows_of(summary.label_set) if row.score not in MEANS],
        "confusion": _confusion(summary),
        "least": LEAST,
        "gaps": [_gap_row(about(name).title, grouped.gaps.get("mean_f1")) for name, grouped in summary.groups.items()],
        "groups": [_grouping(name, grouped, summary.label_set) for name, grouped in summary.groups.items()],
        "histogram": _histogram(summary.images["mean_f1"]),
    }


def _grouping(name: str, grouped: GroupedScores, label_set: LabelSet) -> dict[str, Any]:
    """Tables of one grouping: means by group, and F1 of each class by group."""
    means = ("mean_f1", "mean_iou", f"mean_{AT[2]}")
    shown = about(name)
    return {
        "title": f"By {shown.title}",
        "column": shown.column,
        "note": shown.note,
        "names": [one.group.name for one in grouped.groups],
        "rows": [
            {
                "name": group_phrase(name, one.group),
                "images": len(one.group.images),
                "scores": [_score("", mean, one) for mean in means],
            }
            for one in grouped.groups
        ],
        "gaps": [_gap_row("", grouped.gaps[mean]) for mean in means if mean in grouped.gaps],
        "left_out": ", ".join(grouped.left_out(label_set)) if grouped.gaps else "",
        "classes": [
            {
                "name": row.name,
                "colour": row.colour,
                "scores": [percent(one.scores.get(row.score)) for one in grouped.groups],
                "gap": _gap_row("", gap) if (gap := grouped.gaps.get(row.score)) else None,
            }
            for row in rows_of(label_set)
            if row.score not in MEANS
        ],
    }


def _gap_row(name: str, gap: Gap | None) -> dict[str, str]:
    return {"name": name} | dict(zip(("gap", "range", "p", "worst", "best"), gap_phrases(gap), strict=True))


def _score(words: str, name: str, summary: Summary | GroupScores) -> dict[str, str]:
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
