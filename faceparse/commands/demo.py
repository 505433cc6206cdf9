"""The command `faceparse demo`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def demo(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder for dataset, run and pictures. Default: demo, or demo-2, ...")
    ] = None,
    count: Annotated[int, typer.Option(min=20, help="Synthetic faces.")] = 160,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training faces.")] = 10,
) -> None:
    """Run all steps on drawn faces, in minutes on a CPU. Steps: prepare, edges, check, train, eval, predict, export."""
    import itertools
    import shlex
    import time

    from faceparse.commands.console import out

    run: Callable[[list[str]], int] = context.obj  # runs a command as a user would
    started = time.monotonic()
    if folder is None:  # keep the folder of an earlier demo
        folder = next(path for n in itertools.count(1) if not (path := Path(f"demo-{n}" if n > 1 else "demo")).exists())
    data, trained = folder / "faces", folder / "run"
    best = trained / "best.pth"
    recipe = (
        "--input-size 129,129 --random-mirror --batch-size 8 --learning-rate 0.01 "
        "--set optim.warmup=20 --set model.backbone=resnet18 --set model.stem=torchvision"
    )
    commands: list[list[object]] = [
        ["prepare", "synthetic", data, "--count", count, "--size", 192],
        ["edges", data],
        ["check", data],
        ["train", "--data-dir", data, "--snapshot-dir", trained, "--epochs", epochs, *recipe.split()],
        ["eval", best],
        ["predict", best, data / "images", "--output", folder / "predictions"],
        ["export", best],
    ]
    for command in commands:
        arguments = [str(part) for part in command]
        out.print(f"\n$ faceparse {shlex.join(arguments)}", style="bold")
        if code := run(arguments):
            raise typer.Exit(code)
    minutes = (time.monotonic() - started) / 60
    out.print(f"\ndone in {minutes:.1f} minutes; pictures in {folder / 'predictions'}; runs: faceparse ui")
