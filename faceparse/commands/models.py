"""The command `faceparse models`."""

import json
from typing import Annotated

import typer


def models(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")] = False,
) -> None:
    """List the models on this machine. They came with faceparse, or were fetched from the hub or the web."""
    from dataclasses import asdict

    from faceparse.core.names.catalogue import list_models

    found = list_models()
    if as_json:
        print(json.dumps([asdict(one) | {"path": str(one.path)} for one in found]))
        return
    from rich import box
    from rich.table import Table

    from faceparse.commands.console import out, print_table

    if not found:
        out.print("no models here; name a file, hf:ORG/NAME or https://HOST/FILE#sha256=HEX, and it is fetched")
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model", overflow="fold")
    for heading in ("classes", "MB", "F1 %"):
        table.add_column(heading, justify="right")
    for heading in ("scored by", "licence", "file"):
        table.add_column(heading, overflow="fold")
    for one in found:
        score = "" if one.score is None else f"{100 * one.score:.2f}"
        classes, size = f"{one.classes} of {one.label_set}", f"{one.size / 1e6:.1f}"
        table.add_row(one.name, classes, size, score, one.scored, one.licence or "unknown", str(one.path))
    print_table(table)
