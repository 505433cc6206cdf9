"""The command `faceparse web [--model MODEL]`."""

from typing import Annotated

import typer

from faceparse.commands.model import Model, chosen_model, tell_terms
from faceparse.commands.options import Device, Gpus, InputSize, Trust, device_name, parse_size


def web(
    word: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model to use, as with --model.")] = None,
    model: Model = None,
    trust: Trust = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8420,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser, too.")] = False,
    gpus: Gpus = None,
    device: Device = None,
    input_size: InputSize = None,
) -> None:
    """Try a model in the browser. Drop a photograph at http://127.0.0.1:PORT, then see and download its parsing."""
    import webbrowser

    from faceparse.commands.console import out, silent_libraries
    from faceparse.core.api import load
    from faceparse.core.web.application import web_application
    from faceparse.core.web.server import listen, serve, url

    silent_libraries()
    name = chosen_model(model, word)
    with listen(port) as listening:  # first, since loading a model takes seconds
        parser = load(name, device=device_name(gpus, device) or "auto", input_size=parse_size(input_size), trust=trust)
        tell_terms(name)
        application = web_application(parser, name)
        out.print(f"{name} at {url(listening)} (Ctrl-C ends it)")
        if open_:
            webbrowser.open(url(listening))
        serve(application, listening)
