"""PyTorch's own formats: TorchScript, for old runtimes, and `torch.export` programs (.pt2)."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch.export.passes import move_to_device_pass

from faceparse.core.export.graph import Graph, Run
from faceparse.core.export.onnx import Metadata

_ENTRY = "faceparse.json"


def write_torchscript(graph: Graph, metadata: Metadata, file: BinaryIO) -> None:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that TorchScript has a successor: it is written, too
        traced = torch.jit.trace(graph.module, graph.example, check_trace=False)
        torch.jit.save(traced, file, _extra_files={_ENTRY: json.dumps(metadata)})


def read_program_metadata(path: Path) -> Metadata:
    """Of a file of either format. Both are zip archives, whose network need not be loaded for it."""
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{_ENTRY}")]
        return json.loads(archive.read(found[0])) if found else {}


def run_torchscript(path: Path, device: torch.device) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), map_location=device).eval()
    return lambda image: module(image)


def write_program(graph: Graph, metadata: Metadata, file: BinaryIO) -> None:
    torch.export.save(graph.program, file, extra_files={_ENTRY: json.dumps(metadata)})


def run_program(path: Path, device: torch.device) -> Run:
    with path.open("rb") as file:
        program = torch.export.load(file)
    module = move_to_device_pass(program, device).module()
    return lambda image: module(image)  # not the module itself: it knows no `train` or `eval`
