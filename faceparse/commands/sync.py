"""faceparse sync RUN_DIR"""

from pathlib import Path
from typing import Annotated

import typer


def sync(
    run_dir: Annotated[Path, typer.Argument(help="Run directory of a run that is no longer training.")],
) -> None:
    """Deliver to MLflow what could not be delivered while the run was training."""
    from faceparse.commands.console import out, silent_libraries
    from faceparse.core.training import sync as core

    silent_libraries()
    done = core.sync(run_dir)
    what = f"delivered {done.delivered}" if done.delivered else "nothing to deliver"
    out.print(f"{run_dir}: {what}; MLflow run {done.run_id} at {done.uri}")
