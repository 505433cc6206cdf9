"""faceparse check DATASET_DIR"""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import DatasetName, Processes


def check(
    dataset_dir: Annotated[Path, typer.Argument(help="Dataset folder in the canonical layout.")],
    dataset: DatasetName = None,
    processes: Processes = None,
) -> None:
    """Report everything in a dataset that would break training or falsify scores; exit code 1 where anything does."""
    from faceparse.commands.console import out, track
    from faceparse.core.datasets.check import check_dataset
    from faceparse.core.parallel import default_processes

    report = check_dataset(dataset_dir, dataset=dataset, processes=processes or default_processes(), track=track)
    for problem in report.problems:
        out.print(problem, markup=False)
    counts = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    verdict = f"{len(report.problems)} problems" if report.problems else "nothing wrong"
    out.print(f"{dataset_dir}: {verdict} ({counts or 'no lists'}; {report.label_set})", markup=False)
    if report.problems:
        raise typer.Exit(1)
