"""PyTorch's own formats: TorchScript, for old runtimes, and `torch.export` programs (.pt2)."""

import io
import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import BinaryIO

import torch
from torch.export.passes import move_to_device_pass

from faceparse.core.errors import CheckpointError
from faceparse.core.export.graph import Graph, TensorFunction
from faceparse.core.export.onnx import Metadata
from faceparse.core.text.toml_json import parse_json

_ENTRY = "faceparse.json"
_LARGEST = 16 * 2**20
"""Most bytes of the metadata."""


def write_torchscript(graph: Graph, metadata: Metadata, file: BinaryIO) -> None:
    """Write the graph as TorchScript."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # PyTorch warns that TorchScript has a successor; we write that, too
        traced = torch.jit.trace(graph.module, graph.example, check_trace=False)
        content = io.BytesIO()  # PyTorch's own writer would end the process on a full disk
        torch.jit.save(traced, content, _extra_files={_ENTRY: json.dumps(metadata)})
    file.write(content.getbuffer())


def read_program_metadata(path: Path) -> Metadata:
    """Read the metadata of a file of either format. Both are zip archives, so the network is not loaded."""
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith(f"/extra/{_ENTRY}")]
        if found and archive.getinfo(found[0]).file_size > _LARGEST:
            raise ValueError(f"{found[0]} is larger than {_LARGEST >> 20} MiB")
        metadata = parse_json(archive.read(found[0])) if found else {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{_ENTRY} is no table of texts")
    return metadata


def run_torchscript(path: Path, device: torch.device) -> TensorFunction:
    """Load a TorchScript file, and return the function that runs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(path), map_location=device).eval()
    return lambda image: module(image)


def write_program(graph: Graph, metadata: Metadata, file: BinaryIO) -> None:
    """Write the graph as a `torch.export` program."""
    content = io.BytesIO()
    torch.export.save(graph.program, content, extra_files={_ENTRY: json.dumps(metadata)})
    file.write(content.getbuffer())


_PLAIN = re.compile(
    r"""[^/]+/(
        data/weights/(weight_\d+|\w+_weights_config\.json)
        | data/constants/(tensor_\d+|\w+_constants_config\.json)
        | data/sample_inputs/\w+\.pt  # which PyTorch itself reads with weights_only
        | models/\w+\.json | extra/faceparse\.json | archive_(format|version) | byteorder | \.data/\w+
    )""",
    re.VERBOSE,
)
"""Names of the parts that `write_program` writes. None of them is a pickle that may hold any object."""


def run_program(path: Path, device: torch.device) -> TensorFunction:
    """Load a `torch.export` program, and return the function that runs it.

    Raises:
        CheckpointError: a part of the file would be unpickled.
    """
    _refuse_pickles(path)
    with path.open("rb") as file:
        program = torch.export.load(file)
    module = move_to_device_pass(program, device).module()
    return lambda image: module(image)  # not the module itself: it has no `train` and no `eval`


def _refuse_pickles(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        configs = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
    entries = [entry for config in configs for entry in config["config"].values()]
    pickled = [entry["path_name"] for entry in entries if entry["use_pickle"]]
    strange = [name for name in names if not _PLAIN.fullmatch(name) or names.count(name) > 1]
    if found := strange + pickled:
        raise CheckpointError(
            f"{path}: its part {found[0]!r} was not written by 'faceparse export'; export the checkpoint again"
        )
