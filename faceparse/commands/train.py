"""The command `faceparse train [EXPERIMENT.toml]`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceparse.commands.model import tell_terms
from faceparse.commands.options import (
    AllGpus,
    BatchSize,
    CpuProcesses,
    DataDir,
    Device,
    Epochs,
    Experiment,
    InputSize,
    LabelSetName,
    MappingFile,
    MaxRestarts,
    Nodes,
    NumClasses,
    Rendezvous,
    RestoreFrom,
    Set,
    device_name,
    parse_set,
)

if TYPE_CHECKING:
    from faceparse.core.settings import Settings
    from faceparse.core.training.run import RunResult


def train(
    experiment: Experiment = None,
    data_dir: DataDir = None,
    gpus: AllGpus = None,
    device: Device = None,
    processes: CpuProcesses = None,
    nodes: Nodes = None,
    rendezvous: Rendezvous = None,
    max_restarts: MaxRestarts = None,
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
    label_set: LabelSetName = None,
    num_classes: NumClasses = None,
    restore_from: RestoreFrom = None,
    mapping: MappingFile = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="backbone|N", help="Keep the backbone's weights as they are, always or in the first N epochs."
        ),
    ] = None,
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
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Only measure where the time of a few iterations goes: a table and a trace."),
    ] = False,
) -> None:
    """Train a network. Every run is logged to MLflow and kept in a run directory."""
    from faceparse.core.errors import SettingsError

    where = {
        "train.device": device_name(gpus, device, several=True),
        "launch.processes": processes,
        "launch.nodes": nodes,
        "launch.rendezvous": rendezvous,
        "launch.max_restarts": max_restarts,
    }
    options = {
        "data.root": data_dir,
        "data.label_set": label_set,
        "data.num_classes": num_classes,
        "data.input_size": input_size,
        "data.random_mirror": random_mirror,
        "data.random_scale": random_scale,
        "model.pretrained": restore_from,
        "model.mapping": mapping,
        "model.freeze": freeze,
        "optim.lr": learning_rate,
        "optim.weight_decay": weight_decay,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.run_dir": snapshot_dir,
        **parse_set(set_ or []),
    }
    typed, placed = ({key: value for key, value in chosen.items() if value is not None} for chosen in (options, where))
    if resume not in (None, "auto") and (typed or experiment):
        raise SettingsError(
            "--resume goes on with the run's own settings; drop the other options, but for those of where it runs "
            "(--gpus, --device, --processes, --nodes, --rendezvous, --max-restarts). A run with others can start from "
            f"its weights: --restore-from {Path(resume or '') / 'last.pth'} in place of --resume"
        )
    from faceparse.commands.console import silent_libraries
    from faceparse.core.settings import load_settings

    silent_libraries()  # before the libraries are imported
    tell_terms(restore_from)
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.training.launch import Job, resume_job, start

    if profile:
        if resume is not None:
            raise SettingsError("--profile and --resume: give one of them")
        _profile(load_settings(experiment, placed | typed))
    elif resume is None:
        _show(start(Job(load_settings(experiment, placed | typed), TrainingDisplay)))
    elif resume == "auto":
        _show(start(Job(load_settings(experiment, placed | typed), TrainingDisplay, "auto")))
    else:
        _show(start(resume_job(Path(resume), TrainingDisplay, placed)))


def _profile(settings: "Settings") -> None:
    from rich.table import Table

    from faceparse.commands.console import out
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.training.profile import TABLE, TRACE, profile_step

    with TrainingDisplay() as display:
        found = profile_step(settings, display)
    gpu = found.parts[0].gpu is not None
    table = Table("part of an iteration", "ms on the host", *["ms on the GPU"] * gpu, "share")
    measured = [part.gpu if gpu and part.gpu is not None else part.host for part in found.parts]
    rest = max(0.0, found.iteration - sum(part.host for part in found.parts))
    for part, milliseconds in zip(found.parts, measured, strict=True):
        times = [f"{part.host:.1f}", *([f"{part.gpu:.1f}"] if part.gpu is not None else [])]
        table.add_row(part.name, *times, f"{milliseconds / found.iteration:.0%}")
    table.add_row("the rest", f"{rest:.1f}", *[""] * gpu, f"{rest / found.iteration:.0%}")
    out.print(table)
    speed = 1000 * found.update_size / found.iteration
    out.print(f"{found.iteration:.1f} ms an iteration of {found.update_size} photographs, {speed:.1f} images/s")
    out.print(f"operators: {found.folder / TABLE}; trace for ui.perfetto.dev: {found.folder / TRACE}")


def _show(result: "RunResult") -> None:
    from faceparse.commands.console import out

    out.print(f"best epoch {result.best_epoch} ({result.metric} {result.best_score:.4f}): {result.best}")
    out.print(f"next: faceparse eval {result.best}" + (" ; faceparse ui" if result.run_id else ""))
