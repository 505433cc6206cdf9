"""The command `faceparse sweep [EXPERIMENT.toml] --over optim.lr=1e-3,5e-4`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    RestoreFrom,
    Set,
    device_name,
    parse_set,
)

if TYPE_CHECKING:
    from faceparse.core.sweeps.sweep import SweepResult


def sweep(
    experiment: Experiment = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="KEY=VALUES",
            help="Setting to vary; may be repeated. Choices: optim.lr=1e-3,5e-4 (';' between values that hold commas: "
            "'data.input_size=97,97;193,193'). Ranges of numbers: train.epochs=20..60, optim.lr=1e-4..1e-2:log.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Runs in all. Default: every combination once, where there is no range of fractions."),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Who chooses the next values: tpe (learns from the scores, after 10 random trials), random, or grid "
            "(in the order of --over). Default: tpe. None of them tries a combination twice."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the sampler; train.seed is the seed of the runs. Default: 0.")
    ] = None,
    sweep_dir: Annotated[
        Path | None, typer.Option("--sweep-dir", help="Sweep directory. Default: runs/<experiment>/sweep-<time>-<id>.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="SWEEP_DIR",
            help="Sweep directory to go on with, and with the run that was under way; --trials changes their number.",
        ),
    ] = None,
    data_dir: DataDir = None,
    gpus: AllGpus = None,
    device: Device = None,
    processes: CpuProcesses = None,
    set_: Set = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    restore_from: RestoreFrom = None,
) -> None:
    """Train with several settings and rank the runs. The best score on val decides."""
    from faceparse.core.errors import SettingsError

    options = {
        "data.root": data_dir,
        "model.pretrained": restore_from,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.device": device_name(gpus, device, several=True),
        "launch.processes": processes,
        **parse_set(set_ or []),
    }
    typed = {key: value for key, value in options.items() if value is not None}
    if resume and (typed or experiment or over or sampler or seed is not None or sweep_dir):
        raise SettingsError("--resume goes on with the sweep's own settings; only --trials may stand beside it")
    from faceparse.commands.console import silent_libraries
    from faceparse.core.settings import load_settings

    silent_libraries()  # before the libraries are imported
    tell_terms(restore_from)
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.sweeps import sweep as core

    if resume:
        result = core.resume(resume, TrainingDisplay, trials=trials)
    else:
        result = core.sweep(
            load_settings(experiment, typed),
            over or [],
            trials=trials,
            sampler=sampler or "tpe",
            seed=seed or 0,
            sweep_dir=sweep_dir,
            display=TrainingDisplay,
        )
    _show(result)


def _show(result: "SweepResult") -> None:
    """Print the trials and the best one; exit with 1 where a trial failed."""
    from faceparse.commands.console import next_commands, out, print_table

    print_table(_table(result))
    for trial in result.trials:
        if trial.error is not None:
            out.print(f"{trial.name} failed: {trial.error}")
    if result.best is not None:
        out.print(next_commands(result.best, result.data_root, result.trials[0].run_id))
    if any(trial.state == "failed" for trial in result.trials):
        raise typer.Exit(1)


def _table(result: "SweepResult") -> Any:
    from faceparse.commands.console import number_table

    keys = list(result.trials[0].params)
    table = number_table(str(result.path), "trial", "score", "best epoch", *keys)
    for trial in result.trials:
        score = "failed" if trial.score is None else f"{trial.score:.4f}"
        table.add_row(trial.name, score, str(trial.best_epoch or ""), *(_short(trial.params[key]) for key in keys))
    return table


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
