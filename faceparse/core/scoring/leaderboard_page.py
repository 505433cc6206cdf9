"""A leaderboard as an HTML page and as plain data. `docs/evaluation.md` describes every key."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faceparse.core.pages.html import render
from faceparse.core.scoring.bootstrap import LEVEL
from faceparse.core.scoring.leaderboard import Entry, Leaderboard, Table
from faceparse.core.scoring.report import difference_phrase, difference_range, p_phrase, range_phrase
from faceparse.core.scoring.scores import AT, percent

OUTLINE = AT[2]
"""The boundary F1 that is shown."""
REPORT = "report.html"


@dataclass(frozen=True)
class Cell:
    """Cell of a table."""

    text: str = ""
    small: str = ""
    """Further text, in a second line."""
    value: float | None = None
    """Number to sort by; None for a cell that is sorted by its text."""
    link: str = ""
    kind: str = "number"


def leaderboard_page(board: Leaderboard, page: Path) -> str:
    """Page with a table for each set of evaluations that may be compared.

    Args:
        page: path at which it will be, for links to the reports.
    """
    count = len({entry.found.path for table in board.tables for entry in table.entries})
    return render(
        "leaderboard.html",
        title=f"Leaderboard of {shown(board.folder.resolve().name or board.folder)}",
        count=count,
        level=f"{LEVEL:.0%}",
        tables=[_table(table, board.folder, page) for table in board.tables],
        left_out=[shown(line) for line in board.left_out],
    )


def leaderboard_dict(board: Leaderboard) -> dict[str, Any]:
    """The leaderboard as plain data."""
    return {"tables": [_table_dict(table) for table in board.tables], "left_out": board.left_out}


def title_of(table: Table) -> str:
    """Phrase for a table's data, protocol and classes, such as `Helen test, protocol eagrnet, helen`."""
    said = table.about.said
    classes = said.label_set or f"{len(said.classes)} classes"
    mapped = "mapped to " if said.truth else ""
    return f"{', '.join(table.datasets)} {said.split}, protocol {table.about.protocol}, {mapped}{classes}"


def shown(path: Path | str) -> str:
    """Text that a page can hold: names of files need not be UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _table(table: Table, folder: Path, page: Path) -> dict[str, Any]:
    said = table.about.said
    data = f"data {said.fingerprint}" if said.fingerprint else "the files do not say which data; it may have changed"
    return {
        "title": title_of(table),
        "facts": f"{said.images} images, {len(said.classes)} classes, {data}",
        "notes": table.notes,
        "older": [shown(os.path.relpath(path.parent, folder)) for path in table.older],
        "rows": [_row(entry, folder, page) for entry in table.entries],
    }


def _row(entry: Entry, folder: Path, page: Path) -> list[Cell]:
    found, scores = entry.found, entry.found.scores
    said = found.said
    height, width = said.input_size
    place = shown(os.path.relpath(found.path.parent, folder))
    trained = [] if said.epoch is None else [f"epoch {said.epoch}"]
    trained += ["classes mapped"] if said.mapped and not said.truth else []
    outline = scores.mean_boundary_f1.get(OUTLINE)
    return [
        Cell(str(entry.rank), value=entry.rank),
        Cell(
            entry.name,
            ", ".join([*trained, f"{found.finished:%Y-%m-%d}", place]),
            None,
            _link(found.path, page),
            "name",
        ),
        Cell(
            percent(scores.mean_f1),
            range_phrase(scores.interval),
            scores.mean_f1,
            kind="number best" if entry.rank == 1 else "number",
        ),
        _gap(entry),
        Cell(percent(scores.mean_iou), "", scores.mean_iou),
        Cell() if outline is None else Cell(percent(outline), "", outline),
        Cell(f"{width} x {height}", "", height * width),
        Cell(said.tta.removeprefix("tta-"), kind="text"),
        _speed(entry),
        Cell() if said.model_file is None else Cell(f"{said.model_file.bytes / 1e6:.1f}", "", said.model_file.bytes),
        Cell(said.licence or "", kind="text"),
    ]


def _gap(entry: Entry) -> Cell:
    if entry.gap is None or entry.gap.value is None:
        return Cell("best", value=0.0)
    if entry.gap.interval is not None:
        small = f"{difference_range(entry.gap)}, p {p_phrase(entry.gap)}"
    else:
        small = {True: "intervals overlap", False: "intervals apart", None: ""}[entry.overlaps]
    return Cell(difference_phrase(entry.gap), small, entry.gap.value)


def _speed(entry: Entry) -> Cell:
    speed = entry.found.said.speed
    if speed is None:
        return Cell()
    threads = "" if speed.threads is None else f", {speed.threads} threads"
    text = f"{1000 * speed.seconds_per_image:.1f}"
    return Cell(text, f"{speed.device}{threads}", speed.seconds_per_image, kind="number long")


def _link(scores: Path, page: Path) -> str:
    """Address of the report beside a scores.json, from the page; empty where there is none."""
    report = scores.with_name(REPORT)
    return quote(os.fsencode(os.path.relpath(report, page.parent))) if report.is_file() else ""


def _table_dict(table: Table) -> dict[str, Any]:
    said = table.about.said
    return {
        "datasets": table.datasets,
        "split": said.split,
        "images": said.images,
        "fingerprint": said.fingerprint,
        "protocol": table.about.protocol,
        "label_set": said.label_set,
        "classes": list(said.classes),
        "mapped": table.notes,
        "evaluations": [_entry_dict(entry) for entry in table.entries],
        "older": [str(path) for path in table.older],
    }


def _entry_dict(entry: Entry) -> dict[str, Any]:
    found, said, scores, gap = entry.found, entry.found.said, entry.found.scores, entry.gap
    return {
        "rank": entry.rank,
        "checkpoint": said.checkpoint,
        "epoch": said.epoch,
        "mean_f1": scores.mean_f1,
        "interval": scores.interval,
        "difference": None if gap is None else gap.value,
        "difference_interval": None if gap is None else gap.interval,
        "p_value": None if gap is None else gap.p_value,
        "intervals_overlap": entry.overlaps,
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "mean_boundary_f1": scores.mean_boundary_f1,
        "input_size": said.input_size,
        "tta": said.tta,
        "speed": said.speed.model_dump() if said.speed else None,
        "model_file": said.model_file.model_dump() if said.model_file else None,
        "licence": said.licence,
        "mapped": said.mapped,
        "finished": found.finished.isoformat(timespec="seconds"),
        "file": str(found.path),
    }
