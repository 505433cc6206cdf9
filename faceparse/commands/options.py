"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

TRAINED = (
    "best.pth, a folder of folds, an exported file or bundle, a released checkpoint; or a name: of a shipped model "
    "('faceparse models'), hf:ORG/NAME, hf:ORG/NAME@REVISION, https://HOST/FILE#sha256=HEX, or models:/NAME@ALIAS of "
    "MLflow's registry."
)
"""Help of an argument that `load_model_from` takes."""
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Load TorchScript files and .pt2 programs, too, which can do anything that their author wrote."
    ),
]
Experiment = Annotated[Path | None, typer.Argument(help="TOML file of settings. Default: the paper's Helen recipe.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any setting, as section.key=value; may be repeated.")]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training set.")]
RestoreFrom = Annotated[
    str | None,
    typer.Option(
        "--restore-from",
        metavar="MODEL|imagenet",
        help="Weights to start from: a checkpoint or its name (a shipped one, hf:ORG/NAME, https://FILE#sha256=HEX), "
        "a released EAGRNet, a ResNet, or torchvision's for ImageNet.",
    ),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Dataset folder in the canonical layout.")]
Folds = Annotated[
    int | None,
    typer.Option(
        "--folds",
        help="Divide train and val into this many folds, and train a network for each, on all others. test stays out.",
    ),
]
Gpus = Annotated[str | None, typer.Option("--gpus", "--gpu", help="GPU to use, by number.")]
AllGpus = Annotated[
    str | None, typer.Option("--gpus", "--gpu", help="GPUs to use, by number, such as 0,1: a process on each.")
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps (Apple's GPU).")]
CpuProcesses = Annotated[
    int | None, typer.Option("--processes", help="Training processes on this machine's CPU; each has a batch.")
]
Nodes = Annotated[int | None, typer.Option("--nodes", help="Machines; start the same command on each.")]
Rendezvous = Annotated[
    str | None,
    typer.Option("--rendezvous", metavar="HOST:PORT", help="Where the machines meet: one of them, and a free port."),
]
MaxRestarts = Annotated[int | None, typer.Option("--max-restarts", help="How often lost processes are started again.")]
InputSize = Annotated[str | None, typer.Option("--input-size", help="Crop height,width, such as 473,473.")]
LabelSetName = Annotated[
    str | None,
    typer.Option(
        "--label-set", help="Label set: a built-in name (helen, lapa, ...) or a TOML file. Default: the folder's own."
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        help="Parquet: the column of encoded photographs, structs of bytes and path, or paths. Default: image, or the "
        "only one of the table."
    ),
]
MappingFile = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        metavar="FILE",
        help='TOML file that renames and merges classes, with a line new = ["old", ...] for each new class.',
    ),
]
NumClasses = Annotated[
    int | None, typer.Option("--num-classes", help="Expected number of classes; another one is refused.")
]
Processes = Annotated[int | None, typer.Option("--processes", min=1, help="Parallel processes. Default: one per core.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, max=65536, help="Photographs at a time.")]


def device_name(gpus: str | None, device: str | None, *, several: bool = False) -> str | None:
    """Return `--gpus 0` or `--device cpu` as one name of a device; None where neither was typed.

    Raises:
        SettingsError: both were typed, `gpus` is not numbers, or names several where the command uses one.
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


def parse_set(assignments: list[str]) -> dict[str, str]:
    """Return `section.key=value` assignments as {section.key: value}.

    Raises:
        SettingsError: an assignment has no `=`.
    """
    from faceparse.core.errors import SettingsError

    for assignment in assignments:
        if "=" not in assignment:
            raise SettingsError(f"--set {assignment!r}: write section.key=value, such as --set train.epochs=50")
    return dict(assignment.split("=", 1) for assignment in assignments)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Return `473,473` as (473, 473); None stays None.

    Raises:
        SettingsError: not two numbers, or a size that no network takes.
    """
    from faceparse.core.settings import parse_input_size

    return None if text is None else parse_input_size(text)
