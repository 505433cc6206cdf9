"""The formats that a network can be exported to: how to write, read and judge each.

A new one needs an entry in `FORMATS` and one in `writers`. `PAGES` are folders around a file of such a format.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import SettingsError
from faceparse.core.export import onnx, openvino, programs
from faceparse.core.export.graph import ArrayInput, Graph, GraphInput, MakeInput, TensorFunction
from faceparse.core.export.onnx import Metadata, OnnxWriter
from faceparse.core.export.openvino import OpenvinoWriter
from faceparse.core.files.content import read_safetensors_metadata
from faceparse.core.labels.label_set import nearest
from faceparse.core.parser.checkpoint_file import read_portable
from faceparse.core.parser.exact_weights import State
from faceparse.core.parser.portable import SAFETENSORS, pack_weights


@dataclass(frozen=True)
class Format:
    """How to read, run and judge a file of one format."""

    suffix: str
    """End of the file's name, after the checkpoint's name."""
    difference: float
    """Largest accepted difference between its logits and PyTorch's, relative to the largest logit."""
    agreement: float
    """Smallest accepted share of pixels with the same class as PyTorch's."""
    read_metadata: Callable[[Path], Metadata]
    run: Callable[[Path, torch.device], TensorFunction]
    runs_on_gpu: Callable[[], bool] = torch.cuda.is_available
    graph_input: MakeInput = GraphInput
    calibrated: bool = False
    """Whether it needs training photographs. Its numbers differ from PyTorch's, so its scores decide."""
    servable: bool = False
    """Whether it runs without PyTorch, as a registered model must."""
    runs_code: bool = False
    """Whether loading it can run any code of its author. It is read only where the user says that they trust it."""
    beside: str | None = None
    """Suffix of a second file, which holds the weights."""
    needs: tuple[str, ...] = ()
    """Packages that an export needs and that are not installed everywhere."""
    holds_weights: bool = False
    """Whether it holds the weights and no graph. It is read as a checkpoint and takes any input size."""


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
_openvino = partial(
    Format,
    read_metadata=openvino.read_openvino_metadata,
    run=openvino.run_openvino,
    runs_on_gpu=openvino.runs_on_gpu,
    graph_input=ArrayInput,
    beside=openvino.WEIGHTS,
    needs=("openvino",),
)
_program = partial(Format, read_metadata=programs.read_program_metadata, runs_code=True)
_weights = partial(Format, read_metadata=read_safetensors_metadata, run=_run_weights, holds_weights=True)

FORMATS = {
    "onnx": _onnx(".onnx", 1e-3, 0.999),
    "onnx-fp16": _onnx("-fp16.onnx", 3e-2, 0.99),
    "onnx-int8": _onnx("-int8.onnx", math.inf, 0.0, calibrated=True),
    "openvino": _openvino(".xml", 1e-3, 0.999),
    "openvino-fp16": _openvino("-fp16.xml", 3e-2, 0.99),
    "openvino-int8": _openvino("-int8.xml", math.inf, 0.0, calibrated=True, needs=("openvino", "nncf")),
    "torchscript": _program(".torchscript", 1e-3, 0.999, run=programs.run_torchscript),
    "pt2": _program(".pt2", 1e-3, 0.999, run=programs.run_program),
    "safetensors": _weights(SAFETENSORS, 3e-2, 0.99),
    "safetensors-fp32": _weights(f"-fp32{SAFETENSORS}", 1e-3, 0.999),
}

PAGES = {"browser": "onnx-fp16", "browser-int8": "onnx-int8", "browser-fp32": "onnx"}
"""Folders with a page that runs the model in browsers -> the format of the model in each."""

Write = Callable[[BinaryIO], object]


class Judgement(NamedTuple):
    """How an accuracy control judges a graph."""

    photographs: Sequence[Sample]
    judge: openvino.Judge
    max_drop: float
    """Largest accepted drop of the mean F1."""


def writers(
    graph: Graph,
    metadata: Metadata,
    calibration: Callable[[], Iterator[Tensor]],
    weights: State,
    judgement: Callable[[], Judgement],
    *,
    opset: int | None = None,
) -> dict[str, Write]:
    """Functions by format that write the graph, or `weights`, into a file.

    Args:
        calibration: gives inputs of the graph each time it is called.
        judgement: tells how a format with an accuracy control is judged.
        opset: version of ONNX's operators; None leaves it to PyTorch.
    """
    return {
        **onnx_writers(graph, metadata, calibration, judgement, opset=opset),
        "torchscript": partial(programs.write_torchscript, graph, metadata),
        "pt2": partial(programs.write_program, graph, metadata),
        "safetensors": lambda file: file.write(pack_weights(weights, metadata, half=True)),
        "safetensors-fp32": lambda file: file.write(pack_weights(weights, metadata, half=False)),
    }


def onnx_writers(
    graph: Graph | Path,
    metadata: Metadata,
    calibration: Callable[[], Iterator[Tensor]],
    judgement: Callable[[], Judgement],
    *,
    opset: int | None = None,
) -> dict[str, Write]:
    """Functions by format that write the ONNX of a graph, or of an imported network's file, and what is made of it.

    The arguments are those of `writers`.
    """
    as_onnx = OnnxWriter(graph, metadata, opset=opset)
    as_openvino = OpenvinoWriter(as_onnx.write, metadata)

    def write_openvino_int8(file: BinaryIO) -> None:
        as_openvino.write_int8(file, list(calibration()), *judgement())

    return {
        "onnx": as_onnx.write,
        "onnx-fp16": as_onnx.write_fp16,
        "onnx-int8": lambda file: as_onnx.write_int8(file, calibration()),
        "openvino": as_openvino.write,
        "openvino-fp16": as_openvino.write_fp16,
        "openvino-int8": write_openvino_int8,
    }


def resolve_formats(text: str, *, preprocessing: bool = False, opset: int | None = None) -> list[str]:
    """Names of formats from a text with commas, each once.

    Args:
        preprocessing: whether the graph must include the preprocessing.
        opset: wanted version of ONNX's operators.

    Raises:
        SettingsError: there is no such format, it cannot include the preprocessing, or it has no ONNX operators.
        ResourceError: it needs a package that is not installed.
    """
    known = [*FORMATS, *PAGES]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise SettingsError(f"--format {name!r}: not one of {', '.join(known)}{nearest(name, known)}")
        if preprocessing and name in PAGES:
            raise SettingsError(f"--preprocessing: the page of {name} needs logits; take another format")
        written = FORMATS[PAGES.get(name, name)]
        if preprocessing and written.holds_weights:
            raise SettingsError(f"--preprocessing: {name} has weights and no graph to hold it; take another format")
        openvino.must_be_installed(*written.needs)
        if opset is not None and not written.suffix.endswith(".onnx"):
            raise SettingsError(f"--opset: {name} has no ONNX operators; leave --opset out, or name ONNX formats alone")
    return names


def format_of(path: Path) -> Format | None:
    """The format by the end of a file's name, or None. ONNX files of all precisions are read alike."""
    return next((known for known in FORMATS.values() if path.name.endswith(known.suffix)), None)
