"""The command `faceparse push BUNDLE hf:ORG/NAME`."""

from pathlib import Path
from typing import Annotated

import typer


def push(
    bundle: Annotated[Path, typer.Argument(help="A folder of 'faceparse export --bundle': safetensors or ONNX.")],
    target: Annotated[str, typer.Argument(metavar="hf:ORG/NAME", help="The model's name on the hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private, if it does not exist yet.")
    ] = False,
) -> None:
    """Upload a bundle to the Hugging Face hub. Other machines load it by the name hf:ORG/NAME."""
    from faceparse.commands.console import out, silent_libraries

    silent_libraries()
    from faceparse.core.export.bundle import read_bundle
    from faceparse.core.names.push import push_bundle

    read_bundle(bundle)  # nobody should get a model that does not load
    out.print(push_bundle(bundle, target, private=private))
