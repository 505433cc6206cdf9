"""faceparse eval CHECKPOINT"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from faceparse.commands.options import (
    BatchSize,
    DataDir,
    DatasetName,
    Device,
    Gpus,
    InputSize,
    NumClasses,
    device_name,
    parse_size,
)

if TYPE_CHECKING:
    from faceparse.core.evaluation.score_checkpoint import Evaluation


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="best.pth, last.pth, or a checkpoint of the released code.")],
    data_dir: DataDir = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    protocol: Annotated[
        str,
        typer.Option(help="eagrnet: in the original image's space; label: at the label's size, without projection."),
    ] = "eagrnet",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, and nothing else.")] = False,
    gpus: Gpus = None,
    device: Device = None,
    batch_size: BatchSize = None,
    input_size: InputSize = None,
    dataset: DatasetName = None,
    num_classes: NumClasses = None,
) -> None:
    """Score a checkpoint: per-class F1 and IoU, logged to the MLflow run that made it."""
    from faceparse.commands.console import err, out, silent_libraries, track
    from faceparse.core.device import resolve_device
    from faceparse.core.evaluation.score_checkpoint import log_evaluation, score_checkpoint
    from faceparse.core.model.weights import read_checkpoint

    silent_libraries()
    loaded = read_checkpoint(checkpoint)
    evaluation = score_checkpoint(
        loaded,
        data_dir=data_dir,
        split=split,
        protocol=protocol,
        device=resolve_device(device_name(gpus, device) or "auto"),
        batch_size=batch_size,
        input_size=parse_size(input_size),
        dataset=dataset,
        num_classes=num_classes,
        track=track,
    )
    if as_json:
        print(json.dumps(_as_dict(evaluation)))
    else:
        out.print(_table(evaluation))
    where = log_evaluation(loaded, evaluation, warn=lambda text: err.print(f"warning: {text}", markup=False))
    if where and not as_json:
        out.print(f"logged to MLflow run {where}")


def _as_dict(evaluation: "Evaluation") -> dict[str, Any]:
    scores = evaluation.scores
    return {
        "checkpoint": str(evaluation.checkpoint),
        "dataset": str(evaluation.dataset),
        "split": evaluation.split,
        "protocol": evaluation.protocol,
        "images": evaluation.images,
        "f1": scores.f1,
        "iou": scores.iou,
        "merged_f1": scores.merged_f1,
        "mean_f1": scores.mean_f1,
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
    }


def _table(evaluation: "Evaluation") -> Any:
    from rich.table import Table

    scores = evaluation.scores
    title = f"{evaluation.dataset.name} {evaluation.split}, {evaluation.images} images, protocol {evaluation.protocol}"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    table.add_column("F1 %", justify="right")
    table.add_column("IoU %", justify="right")
    for name, f1 in scores.f1.items():
        table.add_row(name, _percent(f1), _percent(scores.iou[name]))
    if scores.merged_f1:
        table.add_section()
        for name, f1 in scores.merged_f1.items():
            table.add_row(f"{name} (merged)", _percent(f1), "")
    table.add_section()
    table.add_row("mean without background", _percent(scores.mean_f1), _percent(scores.mean_iou))
    table.add_row("pixel accuracy", _percent(scores.pixel_accuracy), "")
    return table


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.2f}"
