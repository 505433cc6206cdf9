"""faceparse eval CHECKPOINT"""

import json
from dataclasses import asdict
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
        list[str],
        typer.Option(
            help="eagrnet: classes, in the original image's space; label: at the label's size, without projection; "
            "farl: logits, in the original image's space; segface: logits, on a 512 x 512 square. "
            "Several, separated by commas or each with its own --protocol, share the network's work.",
        ),
    ] = ["eagrnet"],  # noqa: B006 (Typer copies it)
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
        protocols=protocol,
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
    """With one protocol its scores lie beside what they are of; with several, each protocol's in an object."""
    origin = {
        "checkpoint": str(evaluation.checkpoint),
        "dataset": str(evaluation.dataset),
        "split": evaluation.split,
    }
    scores = {name: asdict(one) for name, one in evaluation.scores.items()}
    if len(scores) > 1:
        return {**origin, "images": evaluation.images, "protocols": scores}
    ((protocol, only),) = scores.items()
    return {**origin, "protocol": protocol, "images": evaluation.images, **only}


def _table(evaluation: "Evaluation") -> Any:
    """F1 and IoU of one protocol, or F1 of several."""
    from rich.table import Table

    protocols, all_scores = list(evaluation.scores), list(evaluation.scores.values())
    several, first = len(protocols) > 1, all_scores[0]
    what = "F1 % by protocol" if several else f"protocol {protocols[0]}"
    title = f"{evaluation.dataset.name} {evaluation.split}, {evaluation.images} images, {what}"
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for heading in protocols if several else ["F1 %", "IoU %"]:
        table.add_column(heading, justify="right")

    def add(row: str, f1: str, iou: str | None = None) -> None:
        """Scores by their names in `Scores.get`."""
        cells = [_percent(scores.get(f1)) for scores in all_scores]
        if not several:
            cells.append(_percent(first.get(iou)) if iou else "")
        table.add_row(row, *cells)

    for name in first.f1:
        add(name, f"f1/{name}", f"iou/{name}")
    if first.merged_f1:
        table.add_section()
        for name in first.merged_f1:
            add(f"{name} (merged)", f"f1/{name}")
    table.add_section()
    add("mean without background", "mean_f1", "mean_iou")
    add("pixel accuracy", "pixel_accuracy")
    return table


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.2f}"
