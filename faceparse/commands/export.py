"""faceparse export CHECKPOINT"""

from pathlib import Path
from typing import Annotated

import typer

from faceparse.commands.options import InputSize, parse_size


def export(
    checkpoint: Annotated[Path, typer.Argument(help="best.pth, or a checkpoint of the released code.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write. Default: beside the checkpoint.")
    ] = None,
    format_: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    input_size: InputSize = None,
) -> None:
    """Write an ONNX file that ONNX Runtime runs like PyTorch does: checked before it is called done."""
    from faceparse.commands.console import err, out, silent_libraries
    from faceparse.core.errors import SettingsError
    from faceparse.core.export.onnx import export_onnx
    from faceparse.core.model.weights import read_checkpoint

    if format_ != "onnx":
        raise SettingsError(f"--format {format_!r}: this version writes onnx")
    silent_libraries()
    loaded = read_checkpoint(checkpoint)
    target = output or checkpoint.with_suffix(".onnx")
    err.print(f"exporting {checkpoint}, then comparing it with PyTorch ...")
    report = export_onnx(loaded, target, input_size=parse_size(input_size))
    for check in report.checks:
        same = f"argmax agrees on {check.agreement:.4%} of pixels"
        out.print(f"batch {check.batch}: largest difference {check.difference:.2e}, {same}")
    height, width = report.input_size
    shapes = f"image N x 3 x {height} x {width} -> parsing N x {report.classes} x {height} x {width}"
    out.print(f"{target}: {shapes}, {target.stat().st_size / 1e6:.1f} MB")
