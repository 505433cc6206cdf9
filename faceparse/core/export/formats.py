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
from faceparse.core.export.graph import ArrayInput, Graph, GraphInput, MakeInput, TensorFunction
from faceparse.core.export.onnx import Metadata, OnnxWriter
from faceparse.core.files.content import read_safetensors_metadata
from faceparse.core.labels.label_set import nearest
from faceparse.core.parser.checkpoint_file import read_portable
from faceparse.core.parser.exact_weights import State
from faceparse.core.parser.portable import SAFETENSORS, pack_weights


@dataclass(frozen=True)
class Format:
    suffix: str
    """Of the file's name, after the checkpoint's."""
    difference: float
    """Largest difference of a logit from PyTorch's that is taken, relative to the largest logit."""
    agreement: float
    """Smallest share of pixels whose class is PyTorch's that is taken."""
    read_metadata: Callable[[Path], Metadata]
    run: Callable[[Path, torch.device], TensorFunction]
    runs_on_gpu: Callable[[], bool] = torch.cuda.is_available
    graph_input: MakeInput = GraphInput
    calibrated: bool = False
    """Needs training photographs to be made. Its numbers are others than PyTorch's; its scores decide."""
    servable: bool = False
    """Runs without PyTorch, and so in a registered model."""
    runs_code: bool = False
    """Loading it can do whatever its author wrote: it is read only where the user says that the file can be trusted."""
    holds_weights: bool = False
    """Holds the weights and no graph: is read as a checkpoint, and takes any input size."""


def _run_weights(path: Path, device: torch.device) -> TensorFunction:
    return read_portable(path).network(device).logits


_onnx = partial(
    Format,
    read_metadata=onnx.read_onnx_metadata,
    run=onnx.run_onnx,
    runs_on_gpu=onnx.runs_on_gpu,
    graph_input=ArrayInput,
    servable=True,
)
_program = partial(Format, read_metadata=programs.read_program_metadata, runs_code=True)
_weights = partial(Format, read_metadata=read_safetensors_metadata, run=_run_weights, holds_weights=True)

FORMATS = {
    "onnx": _onnx(".onnx", 1e-3, 0.999),
    "onnx-fp16": _onnx("-fp16.onnx", 3e-2, 0.99),
    "onnx-int8": _onnx("-int8.onnx", math.inf, 0.0, calibrated=True),
    "torchscript": _program(".torchscript", 1e-3, 0.999, run=programs.run_torchscript),
    "pt2": _program(".pt2", 1e-3, 0.999, run=programs.run_program),
    "safetensors": _weights(SAFETENSORS, 3e-2, 0.99),
    "safetensors-fp32": _weights(f"-fp32{SAFETENSORS}", 1e-3, 0.999),
}

Write = Callable[[BinaryIO], object]


def writers(
    graph: Graph, metadata: Metadata, calibration: Callable[[], Iterator[Tensor]], weights: State
) -> dict[str, Write]:
    """Format -> what fills a file with the graph, or with `weights`. `calibration` gives inputs of the graph, whenever
    asked.
    """
    as_onnx = OnnxWriter(graph, metadata)
    return {
        "onnx": as_onnx.write,
        "onnx-fp16": as_onnx.write_fp16,
        "onnx-int8": lambda file: as_onnx.write_int8(file, calibration()),
        "torchscript": partial(programs.write_torchscript, graph, metadata),
        "pt2": partial(programs.write_program, graph, metadata),
        "safetensors": lambda file: file.write(pack_weights(weights, metadata, half=True)),
        "safetensors-fp32": lambda file: file.write(pack_weights(weights, metadata, half=False)),
    }


def resolve_formats(text: str, *, preprocessing: bool = False) -> list[str]:
    """Names of formats, separated by commas, each once.

    Args:
        preprocessing: whether it is to be inside the graph.

    Raises:
        SettingsError: there is no such format, or it has no graph.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise SettingsError(f"--format {name!r}: not one of {known}{nearest(name, FORMATS)}")
        if preprocessing and FORMATS[name].holds_weights:
            raise SettingsError(f"--preprocessing: {name} has weights and no graph to hold it; take another format")
    return names


def format_of(path: Path) -> Format | None:
    """The format that a file's name says; ONNX files are read alike, whatever their precision."""
    return next((known for known in FORMATS.values() if path.name.endswith(known.suffix)), None)
