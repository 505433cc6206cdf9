"""The formats that a network can be exported to: how each is written, read and judged. A new one is one more entry."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.export import onnx, programs
from faceparse.core.export.graph import Graph, Run
from faceparse.core.export.onnx import Metadata, OnnxWriter
from faceparse.core.labels import nearest


@dataclass(frozen=True)
class Format:
    suffix: str
    """Of the file's name, after the checkpoint's."""
    difference: float
    """Largest difference of a logit from PyTorch's that is taken, relative to the largest logit."""
    agreement: float
    """Smallest share of pixels whose class is PyTorch's that is taken."""
    read_metadata: Callable[[Path], Metadata]
    run: Callable[[Path, torch.device], Run]
    runs_on_gpu: Callable[[], bool]
    calibrated: bool = False
    """Needs training photographs to be made. Its numbers are others than PyTorch's; its scores decide."""


FORMATS = {
    "onnx": Format(".onnx", 1e-3, 0.999, onnx.read_onnx_metadata, onnx.run_onnx, onnx.runs_on_gpu),
    "onnx-fp16": Format("-fp16.onnx", 3e-2, 0.99, onnx.read_onnx_metadata, onnx.run_onnx, onnx.runs_on_gpu),
    "onnx-int8": Format(
        "-int8.onnx", math.inf, 0.0, onnx.read_onnx_metadata, onnx.run_onnx, onnx.runs_on_gpu, calibrated=True
    ),
    "torchscript": Format(
        ".torchscript",
        1e-3,
        0.999,
        programs.read_torchscript_metadata,
        programs.run_torchscript,
        torch.cuda.is_available,
    ),
    "pt2": Format(".pt2", 1e-3, 0.999, programs.read_program_metadata, programs.run_program, torch.cuda.is_available),
}

Write = Callable[[BinaryIO], None]


def writers(graph: Graph, metadata: Metadata, calibration: Callable[[], Iterator[Tensor]]) -> dict[str, Write]:
    """Format -> what fills a file with the graph. `calibration` gives inputs of the graph, whenever asked."""
    as_onnx = OnnxWriter(graph, metadata)
    return {
        "onnx": as_onnx.write,
        "onnx-fp16": as_onnx.write_fp16,
        "onnx-int8": lambda file: as_onnx.write_int8(file, calibration()),
        "torchscript": partial(programs.write_torchscript, graph, metadata),
        "pt2": partial(programs.write_program, graph, metadata),
    }


def resolve_formats(text: str) -> list[str]:
    """Names of formats, separated by commas, each once.

    Raises:
        SettingsError: there is no such format.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise SettingsError(f"--format {name!r}: not one of {known}{nearest(name, FORMATS)}")
    return names


def format_of(path: Path) -> Format | None:
    """The format that a file's name says; ONNX files are read alike, whatever their precision."""
    return next((known for known in FORMATS.values() if path.name.endswith(known.suffix)), None)
