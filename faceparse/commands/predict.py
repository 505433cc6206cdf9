"""faceparse predict CHECKPOINT INPUT..."""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import BatchSize, Device, Gpus, InputSize, device_name, parse_size


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="best.pth, or a checkpoint of the released code.")],
    inputs: Annotated[list[Path], typer.Argument(help="Photographs, and folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for labels/ and overlays/.")] = Path(
        "predictions"
    ),
    gpus: Gpus = None,
    device: Device = None,
    batch_size: BatchSize = None,
    input_size: InputSize = None,
) -> None:
    """Parse photographs: labels/<name>.png (ids, with a palette) and overlays/<name>.jpg at each photograph's size."""
    from faceparse.commands.console import err, out, silent_libraries, track
    from faceparse.core.device import resolve_device
    from faceparse.core.inference import load_parser
    from faceparse.core.model.weights import read_checkpoint
    from faceparse.core.prediction import predict_files

    silent_libraries()
    loaded = read_checkpoint(checkpoint)
    parser = load_parser(loaded, resolve_device(device_name(gpus, device) or "auto"), parse_size(input_size))
    report = predict_files(parser, loaded.label_set, inputs, output, batch_size=batch_size or 4, track=track)
    for problem in report.broken:
        err.print(f"left out: {problem}", markup=False)
    out.print(f"{output}: {report.done} parsed" + (f", {len(report.broken)} left out" if report.broken else ""))
    if report.broken:
        raise typer.Exit(1)
