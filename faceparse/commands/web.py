"""faceparse web CHECKPOINT"""

from typing import Annotated

import typer

from faceparse.commands.options import Device, Gpus, InputSize, Trained, device_name, parse_size


def web(
    checkpoint: Trained,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8420,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser, too.")] = False,
    gpus: Gpus = None,
    device: Device = None,
    input_size: InputSize = None,
) -> None:
    """Try a model on a page at http://127.0.0.1:PORT: drop a photograph, see and download its parsing."""
    import webbrowser

    from faceparse.commands.console import out, silent_libraries
    from faceparse.core.api import load
    from faceparse.core.web.application import web_application
    from faceparse.core.web.server import listen, serve, url

    silent_libraries()
    with listen(port) as listening:  # first: a model takes seconds to load, a taken port none to tell
        parser = load(checkpoint, device=device_name(gpus, device) or "auto", input_size=parse_size(input_size))
        application = web_application(parser, checkpoint)
        out.print(f"{checkpoint} at {url(listening)} (Ctrl-C ends it)")
        if open_:
            webbrowser.open(url(listening))
        serve(application, listening)
