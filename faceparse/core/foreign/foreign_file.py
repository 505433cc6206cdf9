"""Reads an ONNX file of strangers. Nothing in it runs before it was looked through."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.files.content import must_be_a_model
from faceparse.core.files.reading import open_regular
from faceparse.core.runtime.checksums import is_bundle

LARGEST = 2**31 - 2**20
"""Most bytes of a file with all its weights: a protobuf message takes no more."""
OLDEST = 11
"""Oldest version of ONNX's operators: older ones resize pictures in another way."""

_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Domains of operators that ONNX Runtime has built in."""


@dataclass(frozen=True, eq=False)
class ForeignFile:
    """A file that was looked through: its graph with all weights, and its checksum."""

    path: Path
    size: int
    """Bytes of the file itself, without files beside it."""
    sha256: str
    model: onnx.ModelProto


def read_foreign(path: Path) -> ForeignFile:
    """Read a foreign ONNX file. Weights may lie in files beside it.

    Raises:
        CheckpointError: it is no such file, or has something that faceparse does not run.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path}: no such file; give the .onnx file of a network that others trained (shipped models, and those "
            "of the hub, need no import: every command takes their names)"
        )
    if path.is_dir():
        what = "a bundle already, which every command takes as it is" if is_bundle(path) else "a folder"
        raise CheckpointError(f"{path}: is {what}; import takes the .onnx file of a network that others trained")
    data = _read(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's own error, which has no public name in onnx
        raise CheckpointError(f"{path}: not an ONNX file, or a damaged one; copy it again") from None
    if not model.graph.node or not model.graph.output:
        raise CheckpointError(f"{path}: not an ONNX file: it has no graph; give the .onnx file of the network")
    _check_versions(path, model)
    _check_operators(path, model)
    _take_in_weights(path, model, len(data))
    return ForeignFile(path, len(data), hashlib.sha256(data).hexdigest(), model)


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that a model uses; 0 where it says none."""
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the graph and the graphs inside its nodes, at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from graphs_of(inner)


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(LARGEST + 1)
    except DatasetError as error:
        raise CheckpointError(str(error)) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) > LARGEST:
        raise CheckpointError(f"{path}: larger than {LARGEST >> 20} MiB; no ONNX file is")
    must_be_a_model(path, str(path))
    return data


def _check_versions(path: Path, model: onnx.ModelProto) -> None:
    newest, version = onnx.defs.onnx_opset_version(), opset_of(model)
    if version > newest or model.ir_version > onnx.IR_VERSION:
        raise CheckpointError(
            f"{path}: is of a newer ONNX (operators {version}, format {model.ir_version}) than the package onnx here "
            f"({newest}, {onnx.IR_VERSION}); export it with opset {newest} or older, or install a newer onnx"
        )
    if version < OLDEST:
        raise CheckpointError(
            f"{path}: its operators are of ONNX opset {version}; export it with opset {OLDEST} or newer"
        )


def _check_operators(path: Path, model: onnx.ModelProto) -> None:
    if model.functions or model.training_info:
        what = f"functions of its own ({model.functions[0].name[:60]})" if model.functions else "a graph for training"
        raise CheckpointError(f"{path}: has {what}; export it with plain operators")
    for graph in graphs_of(model.graph):
        for node in graph.node:
            name = node.op_type[:60]
            if node.domain not in _DOMAINS:
                raise CheckpointError(
                    f"{path}: has the operator {name} of {node.domain[:60]}, which needs code of others; export it "
                    "with plain ONNX operators"
                )
            if node.op_type != "If" and any(one.HasField("g") or one.graphs for one in node.attribute):
                raise CheckpointError(
                    f"{path}: has a {name}, whose graph could run for ever; export the network without loops"
                )


def _take_in_weights(path: Path, model: onnx.ModelProto, size: int) -> None:
    """Put weights that lie in files beside the model into the model."""
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        about = {entry.key: entry.value for entry in tensor.external_data}
        name = about.get("location", "")
        if not name or Path(name).name != name or (path.parent / name).is_symlink():
            raise CheckpointError(
                f"{path}: has weights in {name[:100]!r}, outside its folder; only files beside it are read"
            )
        try:
            offset, length = int(about.get("offset", "0")), int(about.get("length", "-1"))
            size += max(length, 0)
            if min(offset, length + 1) < 0 or size > LARGEST:
                raise ValueError("more bytes than a file can have")
            with open_regular(path.parent / name) as file:
                file.seek(offset)
                data = file.read(length if length >= 0 else LARGEST - size + 1)
        except (DatasetError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{path}: its weights in {name[:100]!r} cannot be read ({error}); copy both"
            ) from None
        size += len(data) if length < 0 else 0
        if len(data) < length or size > LARGEST:
            raise CheckpointError(f"{path}: its weights in {name[:100]!r} are cut short or too many; copy both again")
        tensor.raw_data = data
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors with numbers: weights, and constants in nodes, at any depth."""
    for one in graphs_of(graph):
        yield from one.initializer
        for sparse in one.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in one.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
