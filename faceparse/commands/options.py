"""Options that several commands share, each written once."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Dataset folder in the canonical layout.")]
Gpus = Annotated[str | None, typer.Option("--gpus", "--gpu", help="GPU to use, by number.")]
AllGpus = Annotated[
    str | None, typer.Option("--gpus", "--gpu", help="GPUs to use, by number, such as 0,1: a process on each.")
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
InputSize = Annotated[str | None, typer.Option("--input-size", help="Crop height,width, such as 473,473.")]
DatasetName = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="Label set: a built-in name (helen, lapa, ...) or a TOML file. Default: the folder's own."
    ),
]
NumClasses = Annotated[
    int | None, typer.Option("--num-classes", help="Expected number of classes; another one is refused.")
]
Processes = Annotated[int | None, typer.Option("--processes", min=1, help="Parallel processes. Default: one per core.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, help="Photographs at a time.")]


def device_name(gpus: str | None, device: str | None, *, several: bool = False) -> str | None:
    """`--gpus 0` or `--device cpu` as one name; None where neither was typed.

    Raises:
        SettingsError: both, not numbers, or several where the command uses one.
    """
    from faceparse.core.errors import SettingsError

    if gpus is None:
        return device
    if device is not None:
        raise SettingsError("--gpus and --device: give one of them")
    numbers = [part.strip() for part in gpus.split(",")]
    if not all(part.isdigit() for part in numbers):
        raise SettingsError(f"--gpus {gpus!r}: write GPU numbers, such as --gpus 0,1")
    if len(numbers) > 1 and not several:
        raise SettingsError(f"--gpus {gpus}: this command uses one GPU; write --gpus {numbers[0]}")
    return f"cuda:{','.join(numbers)}"


def parse_size(text: str | None) -> tuple[int, int] | None:
    """`473,473` -> (473, 473)."""
    from faceparse.core.settings import load_settings

    return None if text is None else load_settings(options={"data.input_size": text}).data.input_size
