"""A learning curve as an HTML page with a chart."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from faceparse.core.pages.html import render
from faceparse.core.scoring.bootstrap import LEVEL, Interval
from faceparse.core.scoring.report import range_phrase
from faceparse.core.scoring.scores import percent

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 56, 24, 16, 44
"""Size of the chart and the margins around its curve."""
TICKS = 5

Row = tuple[float, str, float, Interval | None]
"""Photographs trained on, the same in words, mean F1, its interval."""


class Mark(NamedTuple):
    """A point of the chart, in its coordinates."""

    x: float
    y: float
    low: float
    high: float
    words: str


def curve_page(name: str, rows: Sequence[Row], scored: int, verdict: str) -> str:
    """Page with the curve, its table, and the sentence on more labels.

    Args:
        name: what the curve is of.
        scored: number of photographs that each score is of.
    """
    bounds = [span or Interval(score, score) for _, _, score, span in rows]
    bottom, top = _range(min(low for low, _ in bounds), max(high for _, high in bounds))
    most = rows[-1][0]

    def y(score: float) -> float:
        return round(HEIGHT - BOTTOM - (score - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    marks = [
        Mark(round(LEFT + row[0] / most * (WIDTH - LEFT - RIGHT), 1), y(row[2]), y(low), y(high), row[1])
        for row, (low, high) in zip(rows, bounds, strict=True)
    ]
    return render(
        "curve.html",
        title=f"Learning curve of {name}",
        verdict=verdict,
        level=f"{LEVEL:.0%}",
        scored=scored,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        bottom=HEIGHT - BOTTOM,
        marks=marks,
        ticks=[(y(float(value)), percent(float(value))) for value in np.linspace(bottom, top, TICKS)],
        rows=[{"photographs": words, "f1": percent(f1), "range": range_phrase(span)} for _, words, f1, span in rows],
    )


def _range(low: float, high: float) -> tuple[float, float]:
    """Bounds of the axis: whole percents around the values, at least one apart."""
    bottom, top = np.floor(100 * low) / 100, np.ceil(100 * high) / 100
    return float(bottom), float(top if top > bottom else bottom + 0.01)
