"""faceparse train [EXPERIMENT.toml]"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceparse.commands.options import (
    BatchSize,
    DataDir,
    DatasetName,
    Device,
    Epochs,
    Experiment,
    Gpus,
    InputSize,
    NumClasses,
    RestoreFrom,
    Set,
    device_name,
    parse_set,
)

if TYPE_CHECKING:
    from faceparse.core.training.run import Observer, RunResult


def train(
    experiment: Experiment = None,
    data_dir: DataDir = None,
    gpus: Gpus = None,
    device: Device = None,
    set_: Set = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_DIR|auto",
            help="Run directory to go on with, from its newest checkpoint; auto: the newest unfinished run with these "
            "settings, or a new one where there is none.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Base learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Weight decay.")] = None,
    input_size: InputSize = None,
    dataset: DatasetName = None,
    num_classes: NumClasses = None,
    restore_from: RestoreFrom = None,
    snapshot_dir: Annotated[
        Path | None, typer.Option("--snapshot-dir", help="Run directory. Default: runs/<experiment>/<time>-<id>.")
    ] = None,
    random_mirror: Annotated[
        bool | None,
        typer.Option(
            "--random-mirror/--no-random-mirror", help="Mirror half of the samples, left and right classes swapped."
        ),
    ] = None,
    random_scale: Annotated[
        bool | None, typer.Option("--random-scale/--no-random-scale", help="The recipe's random scale and rotation.")
    ] = None,
) -> None:
    """Train a network; every run is logged to MLflow and kept in a run directory."""
    from faceparse.core.errors import SettingsError

    options = {
        "data.root": data_dir,
        "data.label_set": dataset,
        "data.num_classes": num_classes,
        "data.input_size": input_size,
        "data.random_mirror": random_mirror,
        "data.random_scale": random_scale,
        "model.pretrained": restore_from,
        "optim.lr": learning_rate,
        "optim.weight_decay": weight_decay,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.device": device_name(gpus, device),
        "train.run_dir": snapshot_dir,
        **parse_set(set_ or []),
    }
    typed = {key: value for key, value in options.items() if value is not None}
    if resume not in (None, "auto") and (typed or experiment):
        raise SettingsError("--resume goes on with the run's own settings; drop the other options")
    from faceparse.commands.console import silent_libraries
    from faceparse.core.settings import load_settings

    silent_libraries()  # before they are imported
    from faceparse.core.training import run

    if resume is None:
        settings = load_settings(experiment, typed)
        _show(lambda display: run.train(settings, display))
    elif resume == "auto":
        settings = load_settings(experiment, typed)
        _show(lambda display: run.resume_or_train(settings, display))
    else:
        _show(lambda display: run.resume(Path(resume), display))


def _show(go: "Callable[[Observer], RunResult]") -> None:
    from faceparse.commands.console import out
    from faceparse.commands.training_display import TrainingDisplay

    with TrainingDisplay() as display:
        result = go(display)
    out.print(f"best epoch {result.best_epoch} ({result.best_score:.4f}): {result.best}")
    out.print(f"next: faceparse eval {result.best}" + (" ; faceparse ui" if result.run_id else ""))
