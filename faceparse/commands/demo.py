"""faceparse demo"""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the dataset, the run and the pictures.")] = Path("demo"),
    count: Annotated[int, typer.Option(min=20, help="Synthetic faces.")] = 300,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training faces.")] = 10,
) -> None:
    """The main job on synthetic faces, on a CPU in minutes: prepare, edges, check, train, eval, predict, export."""
    import shlex
    import time

    from faceparse.cli import run
    from faceparse.commands.console import out
    from faceparse.core.errors import OutputError

    started = time.monotonic()
    data, trained = folder / "faces", folder / "run"
    if trained.exists():
        raise OutputError(
            f"{trained}: an earlier demo's run is there; name another folder, such as 'faceparse demo {folder}-2'"
        )
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
