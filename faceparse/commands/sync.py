"""The command `faceparse sync RUN_DIR`."""

from pathlib import Path
from typing import Annotated

import typer


def sync(
    run_dir: Annotated[
        Path, typer.Argument(help="Run directory of a run that is no longer training, or sweep directory.")
    ],
) -> None:
    """Send MLflow what it missed while a run trained."""
    from faceparse.commands.console import out, silent_libraries

    silent_libraries()  # before the libraries are imported
    from faceparse.core.runs import sync as core
    from faceparse.core.sweeps.sweep_file import is_sweep
    from faceparse.core.sweeps.sync_sweep import sync_sweep

    synced = sync_sweep(run_dir) if is_sweep(run_dir) else {run_dir: core.sync(run_dir)}
    for folder, done in synced.items():
        what = f"delivered {done.delivered}" if done.delivered else "nothing to deliver"
        out.print(f"{folder}: {what}; MLflow run {done.run_id} at {done.uri}")
