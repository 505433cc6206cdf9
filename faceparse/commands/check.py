"""The command `faceparse check DATASET_DIR`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceparse.commands.options import LabelSetName, Processes

if TYPE_CHECKING:
    from faceparse.core.checking.check import CheckReport
    from faceparse.core.checking.remap import RemapReport


def check(
    dataset_dir: Annotated[Path, typer.Argument(help="Dataset folder in the canonical layout.")],
    label_set: LabelSetName = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write problems, statistics and overlays to this HTML file, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else.")] = False,
    remap: Annotated[
        bool,
        typer.Option(
            "--remap",
            help="First rewrite CelebAMask-HQ labels of another class order in the label set's order; change no other "
            "labels.",
        ),
    ] = False,
    processes: Processes = None,
) -> None:
    """Report what is wrong with a dataset. If anything breaks training or falsifies scores, the exit code is 1."""
    from faceparse.commands.console import err, out, track
    from faceparse.core.checking.check import check_dataset
    from faceparse.core.checking.check_page import check_page
    from faceparse.core.checking.remap import remap_labels
    from faceparse.core.errors import SettingsError
    from faceparse.core.files.writing import make_folder, write_atomic
    from faceparse.core.machine.parallel import default_processes

    processes = processes or default_processes()
    notes = err if as_json else out
    if report is not None:
        if report.is_file() and report.suffix.lower() not in (".html", ".htm"):
            raise SettingsError(f"--report {report}: exists, and is no HTML page; choose another name")
        make_folder(report.parent)
    if remap:
        remapped = remap_labels(dataset_dir, dataset=label_set, processes=processes, track=track)
        notes.print(f"{dataset_dir}: {_remapped(remapped)}")
    found = check_dataset(dataset_dir, dataset=label_set, processes=processes, track=track)
    if report is not None:
        write_atomic(report, check_page(found, dataset_dir).encode())
    if as_json:
        print(json.dumps(_as_dict(found, dataset_dir)))
    else:
        for problem in found.problems:
            out.print(problem)
        for note in found.notes:
            out.print(f"note: {note}")
        out.print(_table(found))
        if report is not None:
            out.print(f"report: {report}")
        counts = ", ".join(f"{count} {split}" for split, count in found.splits.items())
        verdict = (
            f"{len(found.problems)} problem{'s' * (len(found.problems) != 1)}" if found.problems else "nothing wrong"
        )
        classes = f"{len(found.label_set)} classes of {found.label_set.name}"
        out.print(f"{dataset_dir}: {verdict} ({counts or 'no lists'}; {classes})")
    if found.problems:
        raise typer.Exit(1)


def _remapped(report: "RemapReport") -> str:
    if report.order is not None:
        return f"{report.files} labels remapped from the class order {report.order}"
    if report.finished:
        return "finished the remap that was cut short"
    return "no foreign class order found; the labels are left as they are"


def _as_dict(report: "CheckReport", root: Path) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "dataset": str(root),
        "label_set": report.label_set.name,
        "order": report.order,
        "splits": report.splits,
        "sizes": asdict(report.sizes) if report.sizes else None,
        "classes": [asdict(found) for found in report.classes],
        "problems": report.problems,
        "notes": report.notes,
    }


def _table(report: "CheckReport") -> Any:
    from faceparse.commands.console import number_table
    from faceparse.core.checking.check_page import share_phrase, size_phrase

    sizes = f"images {size_phrase(report.sizes)}" if report.sizes else "no image could be read"
    table = number_table(sizes, "class", "share %", "images", box=None, pad_edge=False)
    for found in report.classes:
        table.add_row(found.name, share_phrase(found.share), str(found.images))
    return table
