"""Writes the report of a whole `predict` as one HTML page that needs no other file."""

from collections.abc import Mapping
from typing import NamedTuple

from faceparse.core.pages.html import render
from faceparse.core.prediction.parsing_report import BARS, QUANTILES, SMALL, Distribution, ParsingReport

PICTURE_SIDE = 320
"""Longer side of the pictures in the page, pixels."""
WORDS = {
    "without_face": "without a face",
    "several_faces": "with several faces",
    "small_face": "with a face too small",
    "low_confidence": "of low confidence",
    "broken": "broken",
}


class Pictures(NamedTuple):
    """A photograph, and the same with its labels: URIs."""

    photograph: str
    labels: str


def parsing_report_page(report: ParsingReport, title: str, pictures: Mapping[str, Pictures]) -> str:
    """HTML page of a report.

    Args:
        pictures: name of a photograph's outputs -> its pictures, of those that could be parsed again.
    """
    notes = []
    if report.unmeasured:
        notes.append(
            f"{report.unmeasured} photographs were parsed before faceparse kept these numbers; parse them anew"
        )
    return render(
        "parsing_report.html",
        title=title,
        notes=notes,
        tiles=_tiles(report),
        small_face=None if report.small_face is None else f"{report.small_face:g}",
        small_share=f"{SMALL:.0%}",
        low=f"{report.low_confidence:g}",
        looks=[(WORDS[kind], report.looks[kind]) for kind in report.looks if report.looks[kind].count],
        confidence=None if report.confidence is None else _chart(report.confidence),
        classes=[
            {
                "name": one.name,
                "colour": one.colour,
                "absent": f"{one.absent / report.photographs:.1%}" if report.photographs else "",
                "quantiles": [f"{100 * one.shares.quantiles[q]:.2f}" if one.shares else "" for q in QUANTILES],
                "chart": _chart(one.shares) if one.shares else None,
            }
            for one in report.classes
        ],
        percents=[f"{float(q):.0%}" for q in QUANTILES],
        least=[
            {"caption": f"{one.confidence:.4f} {one.source}", "pictures": pictures.get(one.name)}
            for one in report.least_sure
        ],
    )


def _tiles(report: ParsingReport) -> list[tuple[str, str]]:
    """Words and a number each."""
    tiles = [("photographs parsed", f"{report.photographs:,}")]
    if report.faces is not None:
        tiles.append(("faces", f"{report.faces:,}"))
    for kind in report.looks:
        known = report.faces is not None and (kind != "small_face" or report.small_face is not None)
        if kind in ("low_confidence", "broken") or known:
            tiles.append((WORDS[kind], f"{report.looks[kind].count:,}"))
    return tiles


def _chart(found: Distribution) -> dict[str, object]:
    """Bars of a histogram: heights in percent of the highest, and the ends of the axis."""
    highest = max(found.histogram)
    step = (found.high - found.low) / BARS
    bars = [
        {
            "height": round(100 * count / highest, 1),
            "label": f"{100 * (found.low + i * step):.2f} to {100 * (found.low + (i + 1) * step):.2f} %: {count:,}",
        }
        for i, count in enumerate(found.histogram)
    ]
    return {
        "bars": bars,
        "low": f"{100 * found.low:.4g}",
        "high": f"{100 * found.high:.4g}",
        "mean": f"{100 * found.mean:.2f}",
    }
