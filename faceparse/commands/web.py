"""The command `faceparse web [--model MODEL]`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.model import Model, chosen_model, tell_terms
from faceparse.commands.options import Device, Gpus, InputSize, MappingFile, Trust, device_name, parse_size


def web(
    word: Annotated[str | None, typer.Argument(metavar="MODEL", help="Model to use, as with --model.")] = None,
    model: Model = None,
    trust: Trust = False,
    label: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Label the photographs of this folder instead, from the model's guesses. Writes labels/NAME.png, "
            "guesses/NAME.png and labels.csv into it.",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="With --label: search folders within the folder, too.")
    ] = False,
    label_set: Annotated[
        str | None,
        typer.Option("--label-set", help="Answer in the classes of another label set: a built-in name or a TOML file."),
    ] = None,
    mapping: MappingFile = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8420,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser, too.")] = False,
    gpus: Gpus = None,
    device: Device = None,
    input_size: InputSize = None,
) -> None:
    """Try a model in the browser. Drop a photograph at http://127.0.0.1:PORT, then see and download its parsing.

    With --label, the page labels the photographs of a folder: correct the model's guess, and save.
    """
    import webbrowser

    from faceparse.commands.console import err, out, silent_libraries
    from faceparse.core.api import load
    from faceparse.core.errors import SettingsError
    from faceparse.core.labelling.label_folder import find_photographs
    from faceparse.core.labelling.labelling import Labelling
    from faceparse.core.web.application import web_application
    from faceparse.core.web.label_application import label_application
    from faceparse.core.web.server import listen, serve, url

    silent_libraries()
    name = chosen_model(model, word)
    if recursive and label is None:
        raise SettingsError("--recursive searches the folders of --label; add --label FOLDER")
    if label is not None:
        find_photographs(label, recursive=recursive)  # a mistyped folder is told at once
    with ExitStack() as held:
        listening = held.enter_context(listen(port))  # before the model, which takes seconds
        parser = load(
            name,
            device=device_name(gpus, device) or "auto",
            input_size=parse_size(input_size),
            label_set=label_set,
            mapping=mapping,
            trust=trust,
        )
        tell_terms(name)
        for notice in parser.model.notes if parser.model is not None else []:
            err.print(f"note: {notice}", markup=False)
        if label is None:
            application = web_application(parser, name)
        else:
            labelling = held.enter_context(Labelling(label, parser, recursive=recursive))
            application = label_application(labelling, parser, name)
        out.print(f"{name} at {url(listening)} (Ctrl-C ends it)")
        if open_:
            webbrowser.open(url(listening))
        serve(application, listening)
