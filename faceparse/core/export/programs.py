"""PyTorch's own formats: TorchScript, for old runtimes, and `torch.export` programs (.pt2)."""

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch.export.passes import move_to_device_pass

from faceparse.core.errors import CheckpointError
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


_PLAIN = re.compile(
    r"""[^/]+/(
        data/weights/(weight_\d+|\w+_weights_config\.json)
        | data/constants/(tensor_\d+|\w+_constants_config\.json)
        | data/sample_inputs/\w+\.pt  # which PyTorch itself reads with weights_only
        | models/\w+\.json | extra/faceparse\.json | archive_(format|version) | byteorder | \.data/\w+
    )""",
    re.VERBOSE,
)
"""What a program of `write_program` consists of: no part of it is a pickle that may hold any object."""


def run_program(path: Path, device: torch.device) -> Run:
    """
    Raises:
        CheckpointError: a part of the file would be unpickled.
    """
    _refuse_pickles(path)
    with path.open("rb") as file:
        program = torch.export.load(file)
    module = move_to_device_pass(program, device).module()
    return lambda image: module(image)  # not the module itself: it knows no `train` or `eval`


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        configs = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
    entries = [entry for config in configs for entry in config["config"].values()]
    pickled = [entry["path_name"] for entry in entries if entry["use_pickle"]]
    strange = [name for name in names if not _PLAIN.fullmatch(name) or names.count(name) > 1]
    if found := strange + pickled:
        raise CheckpointError(
            f"{path}: its part {found[0]!r} is none of 'faceparse export'; export the checkpoint again"
        )
