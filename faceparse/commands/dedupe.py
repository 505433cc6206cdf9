"""The command `faceparse dedupe PHOTOGRAPHS`."""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import Column, Processes


def dedupe(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOGRAPHS",
            help="Folder of photographs, searched with its subfolders, a pattern, a tar or a Parquet file of them, "
            "here or elsewhere, such as s3://bucket/photos.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV file for the list.")] = Path("duplicates.csv"),
    report: Annotated[
        Path | None, typer.Option("--report", help="Show the first groups in this HTML file, too, as pictures.")
    ] = None,
    column: Column = None,
    processes: Processes = None,
) -> None:
    """List the near-duplicates among photographs.

    The fingerprints are those of `check`. Nothing is deleted.

    Kept is the one with the most pixels, then the most bytes, then the first. All others in its group are copies of it:
    the same bytes, re-encoded, resized or brightened.
    """
    from faceparse.commands.console import err, out, track
    from faceparse.core.checking.dedupe import duplicates_csv, find_duplicates, find_photographs
    from faceparse.core.checking.dedupe_page import dedupe_page
    from faceparse.core.errors import SettingsError
    from faceparse.core.files.writing import make_folder, write_atomic
    from faceparse.core.machine.parallel import default_processes

    if output.suffix.lower() != ".csv":
        raise SettingsError(f"--output {output}: the list is a CSV file; choose a name that ends in .csv")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise SettingsError(f"--report {report}: the report is an HTML page; choose a name that ends in .html")
    photographs = find_photographs(place, column)
    for path in (output, *([report] if report is not None else [])):
        make_folder(path.parent)
    found = find_duplicates(photographs, processes=processes or default_processes(), track=track)
    write_atomic(output, duplicates_csv(found))
    if report is not None:
        write_atomic(report, dedupe_page(found, photographs, f"Near-duplicates in {place}").encode())
        out.print(f"report: {report}", markup=False)
    for problem in found.broken:
        err.print(f"left out: {problem}", markup=False)
    broken = f", {len(found.broken)} left out" if found.broken else ""
    out.print(
        f"{output}: {found.copies} near-duplicates of {len(found.groups)} among {found.photographs} photographs{broken}"
    )
    if found.broken:
        raise typer.Exit(1)
