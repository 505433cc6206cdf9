"""The command `faceparse curve [EXPERIMENT.toml]`."""

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
    RestoreFrom,
    Set,
    device_name,
    parse_set,
)

if TYPE_CHECKING:
    from faceparse.core.sweeps.curve import Curve


def curve(
    experiment: Experiment = None,
    shares: Annotated[
        str | None,
        typer.Option(help="Shares of the training photographs, growing. Default: 0.25,0.5,0.75,1."),
    ] = None,
    curve_dir: Annotated[
        Path | None,
        typer.Option("--curve-dir", help="Folder of the curve. Default: runs/<experiment>/curve-<time>-<id>."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="CURVE_DIR", help="Folder to go on with, and with the run that was under way."),
    ] = None,
    data_dir: DataDir = None,
    gpus: AllGpus = None,
    device: Device = None,
    processes: CpuProcesses = None,
    set_: Set = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    folds: Folds = None,
    restore_from: RestoreFrom = None,
) -> None:
    """Say whether more labels would help.

    The networks are trained on growing shares of the photographs.
    """
    from faceparse.core.errors import SettingsError
    from faceparse.core.settings import load_settings

    options = {
        "data.root": data_dir,
        "data.folds": folds,
        "model.pretrained": restore_from,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.device": device_name(gpus, device, several=True),
        "train.run_dir": curve_dir,
        "launch.processes": processes,
        **parse_set(set_ or []),
    }
    typed = {key: value for key, value in options.items() if value is not None}
    if resume and (typed or experiment or shares):
        raise SettingsError("--resume goes on with the curve's own settings; drop the other options")
    from faceparse.commands.console import silent_libraries

    silent_libraries()  # before the libraries are imported
    tell_terms(restore_from)
    from faceparse.commands.training_display import TrainingDisplay
    from faceparse.core.sweeps.curve import SHARES, resume_curve, train_curve

    if resume:
        _show(resume_curve(resume, TrainingDisplay))
    else:
        wanted = SHARES if shares is None else _parse_shares(shares)
        _show(train_curve(load_settings(experiment, typed), wanted, TrainingDisplay))


def _parse_shares(text: str) -> list[float]:
    from faceparse.core.errors import SettingsError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingsError(f"--shares {text!r}: write numbers, such as 0.25,0.5,1") from None


def _show(result: "Curve") -> None:
    from faceparse.commands.console import number_table, out, print_table
    from faceparse.core.scoring.bootstrap import LEVEL
    from faceparse.core.scoring.report import range_phrase
    from faceparse.core.scoring.scores import percent
    from faceparse.core.sweeps.curve import PAGE

    table = number_table(str(result.path), "share", "photographs", "mean F1 %", f"{LEVEL:.0%}")
    for point in result.points:
        table.add_row(f"{point.share:.0%}", point.trained, percent(point.score), range_phrase(point.interval))
    print_table(table)
    out.print(result.verdict)
    out.print(f"chart: {result.path / PAGE}")
