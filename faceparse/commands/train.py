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
    Folds,
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
    from faceparse.core.sweeps.folds import FoldsResult
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
            help="Run directory, or folder of --folds, to go on with, from its newest checkpoint; auto: the newest "
            "unfinished run with these settings, or a new one where there is none. With --epochs, a run, finished or "
            "not, goes on to that epoch.",
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Base learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Weight decay.")] = None,
    input_size: InputSize = None,
    label_set: LabelSetName = None,
    num_classes: NumClasses = None,
    folds: Folds = None,
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

    options = {
        "device": device_name(gpus, device, several=True),
        "processes": processes,
        "nodes": nodes,
        "rendezvous": rendezvous,
        "max_restarts": max_restarts,
        "data_dir": data_dir,
        "label_set": label_set,
        "num_classes": num_classes,
        "input_size": input_size,
        "random_mirror": random_mirror,
        "random_scale": random_scale,
        "folds": folds,
        "restore_from": restore_from,
        "mapping": mapping,
        "freeze": freeze,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "epochs": epochs,
        "batch_size": batch_size,
        "snapshot_dir": snapshot_dir,
    }
    typed = parse_set(set_ or [])
    if profile and resume is not None:
        raise SettingsError("--profile and --resume: give one of them")
    from faceparse.commands.console import silent_libraries

    silent_libraries()  # before the libraries are imported
    tell_terms(restore_from)
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.sweeps.folds import resume_folds, train_folds
    from faceparse.core.sweeps.sweep_file import is_sweep
    from faceparse.core.training.launch import start
    from faceparse.core.training.options import chosen_settings, training_job

    if resume is not None and is_sweep(Path(resume)):
        if experiment or chosen_settings(options) or typed:
            raise SettingsError(f"--resume {resume}: goes on with its own settings; drop the other options")
        _show_folds(resume_folds(Path(resume), TrainingDisplay))
        return
    job = training_job(experiment, options, resume, TrainingDisplay, settings=typed)
    all_folds = job.settings.data.folds is not None and job.settings.data.fold is None
    if all_folds and (profile or resume):
        raise SettingsError(
            f"{'--profile' if profile else '--resume auto'}: takes a single run; choose one of the folds, such as "
            "--set data.fold=1"
        )
    if profile:
        _profile(job.settings)
    elif all_folds:
        _show_folds(train_folds(job.settings, TrainingDisplay))
    else:
        _show(start(job))


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
    from faceparse.commands.console import next_commands, out

    out.print(f"best epoch {result.best_epoch} ({result.metric} {result.best_score:.4f}): {result.best}")
    out.print(next_commands(result.best, result.data_root, result.run_id))


def _show_folds(result: "FoldsResult") -> None:
    from faceparse.commands.console import number_table, out, print_table
    from faceparse.core.scoring.bootstrap import LEVEL
    from faceparse.core.scoring.report import range_phrase
    from faceparse.core.scoring.scores import percent
    from faceparse.core.scoring.split import held_out

    (summary,) = result.evaluation.summaries.values()
    table = number_table(str(result.path), "fold", "photographs", "best epoch", "mean F1 %", f"{LEVEL:.0%}")
    for trial, one in zip(result.trials, summary.groups["fold"].groups, strict=True):
        f1, span = percent(one.scores.mean_f1), range_phrase(one.intervals.get("mean_f1"))
        table.add_row(str(trial.params["data.fold"]), str(len(one.group.images)), str(trial.best_epoch), f1, span)
    table.add_section()
    span = range_phrase(summary.intervals.get("mean_f1"))
    table.add_row("all", str(len(summary.counts)), "", percent(summary.scores.mean_f1), span)
    print_table(table)
    out.print(f"each photograph by the network that did not see it: {result.report}")
    unseen = held_out(result.evaluation.dataset) == "test"
    out.print(f"the ensemble is {result.path}" + (f"; next: faceparse eval {result.path}" if unseen else ""))
