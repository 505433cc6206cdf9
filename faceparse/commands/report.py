"""The command `faceparse report FOLDER`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    parts: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder with part-*.parquet, or the --output of such a predict.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for report.html and report.json. Default: the same folder."),
    ] = None,
) -> None:
    """Make a page about the Parquet files of predict --to parquet. It shows confidence, areas of classes and faces.

    `predict --report` says more: which photographs are broken, which faces are too small, and how the least sure look.
    """
    from faceparse.commands.console import out, silent_libraries
    from faceparse.core.prediction.write_report import write_parts_report

    silent_libraries()
    page, photographs = write_parts_report(parts, output or parts)
    out.print(f"{page}: {photographs} photographs")
