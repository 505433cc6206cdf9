"""The command `faceparse ui`."""

from typing import Annotated

import typer


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    uri: Annotated[str | None, typer.Option(help="Tracking URI. Default: the one that 'train' uses here.")] = None,
) -> None:
    """Show the runs of this folder in MLflow's pages. They are at http://127.0.0.1:PORT."""
    import subprocess
    import sys

    from faceparse.commands.console import err, out, silent_libraries
    from faceparse.core.runs.database import tracking_uri
    from faceparse.core.settings import load_settings
    from faceparse.core.text.address import whole_address

    store = tracking_uri(load_settings(options={"tracking.uri": uri} if uri else {}).tracking)
    if store.startswith(("http://", "https://")):
        out.print(f"the runs are on a server: open {store} in a browser")
        return
    silent_libraries()  # before the libraries are imported
    from faceparse.core.runs.rank_runs import experiments
    from faceparse.core.web.server import listen

    listen(port).close()  # MLflow would print a traceback if the port is taken
    found = experiments(store, warn=lambda text: err.print(f"warning: {text}"))  # first: it may be unreadable
    out.print(f"runs of {store} at http://127.0.0.1:{port} (Ctrl-C ends it)")
    for name, number in found.items():
        # Without the last part, the UI opens on its pages for language models.
        out.print(f"  {name}: http://127.0.0.1:{port}/#/experiments/{number}/runs?workflowType=machine_learning")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        whole_address(store),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    raise typer.Exit(subprocess.call(command))
