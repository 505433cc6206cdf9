"""The command `faceparse edges DATASET_DIR`."""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import Processes


def edges(
    dataset_dir: Annotated[Path, typer.Argument(help="Dataset folder; reads labels/, writes edges/.")],
    force: Annotated[
        bool, typer.Option("--force", help="Redo edge maps that are newer than their label, too.")
    ] = False,
    processes: Processes = None,
) -> None:
    """Make the edge maps that training needs. Writes edges/<id>.png for every labels/<id>.png; deletes nothing."""
    from faceparse.commands.console import out, track
    from faceparse.core.datasets.edges import update_edges
    from faceparse.core.machine.parallel import default_processes

    report = update_edges(dataset_dir, force=force, processes=processes or default_processes(), track=track)
    out.print(f"{dataset_dir / 'edges'}: {report.made} made, {report.fresh} up to date")
