"""ONNX files in float32, float16 and int8 (static quantisation). ONNX Runtime runs them."""

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from faceparse.core.errors import DeviceError, ExportError, SettingsError
from faceparse.core.export.graph import OUTPUT, Graph, TensorFunction
from faceparse.core.runtime.onnx_model import INPUT, new_session

Metadata = Mapping[str, str]

OPSETS = range(18, 24)
"""Versions of ONNX's operators that PyTorch writes and ONNX Runtime reads."""


def check_opset(opset: int | None) -> None:
    """Raise SettingsError if no file of this opset can be written."""
    if opset is not None and opset not in OPSETS:
        raise SettingsError(f"--opset {opset}: PyTorch writes opsets {OPSETS[0]} to {OPSETS[-1]}; name one of them")


class OnnxWriter:
    """Writes the ONNX files of one graph, each in one piece, with the dynamic sizes of the graph.

    The graph of an imported network is an ONNX file already, which is read from its path.
    """

    def __init__(
        self, graph: Graph | Path, metadata: Metadata, *, opset: int | None = None, names: tuple[str, str] | None = None
    ) -> None:
        """Prepare to write.

        Args:
            opset: version of ONNX's operators, one of `OPSETS`; None leaves it to PyTorch.
            names: names of input and output, where they are not those of our own files.
        """
        self._graph, self._metadata, self._opset = graph, metadata, opset
        self._names = names or (INPUT, OUTPUT["logits" if isinstance(graph, Path) else graph.kind])

    def write(self, file: BinaryIO) -> None:
        """Write the graph in float32."""
        self._save(self._model, file)

    def write_fp16(self, file: BinaryIO) -> None:
        """Write weights and maps in float16. Inputs and outputs stay as they are."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        smaller = ONNXModel(convert_float_to_float16(model, keep_io_types=True))
        smaller.topological_sort()  # the converter appends its casts at the end, where readers need not look for them
        self._save(smaller.model, file)

    def write_int8(self, file: BinaryIO, calibration: Iterator[Tensor]) -> None:
        """Write convolutions in int8, with a scale for each output channel. All other layers stay float32.

        The graph layers stay float32, too: their products of maps would lose the most. The ranges come from the inputs
        that `calibration` gives.
        """
        with tempfile.TemporaryDirectory() as folder:
            plain, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "quantised"))
            onnx.save(self._model, plain)
            with contextlib.redirect_stdout(io.StringIO()):
                quant_pre_process(plain, prepared, skip_symbolic_shape=True)
                quantize_static(
                    prepared,
                    quantised,
                    _Reader(calibration),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv"],
                    per_channel=True,
                )
            self._save(onnx.load(quantised), file)

    @cached_property
    def _model(self) -> onnx.ModelProto:
        if isinstance(self._graph, Path):
            return onnx.load(self._graph, load_external_data=False)
        with contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its progress
            program = torch.onnx.export(
                self._graph.program,
                dynamo=True,
                input_names=self._names[:1],
                output_names=self._names[1:],
                opset_version=self._opset,
            )
        assert program is not None
        model = _with_names(program.model_proto)
        # PyTorch writes its own opset, then converts. Where it cannot, it says nothing and leaves the graph as it was.
        found = next(one.version for one in model.opset_import if one.domain == "")
        if self._opset not in (None, found):
            raise ExportError(f"--opset {self._opset}: the graph needs operators of opset {found}; leave --opset out")
        return model

    def _save(self, model: onnx.ModelProto, file: BinaryIO) -> None:
        onnx.helper.set_model_props(model, dict(self._metadata))
        file.write(model.SerializeToString())


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rename the dynamic sides. Symbols such as s40 and 32*s94 become batch, 32*h and 32*w."""
    sides = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim if dim.dim_param]
    symbols = [re.findall(r"s\d+", side)[0] for side in sides]
    names = dict(zip(symbols, ("batch", "h", "w"), strict=False))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"s\d+", lambda found: names.get(found[0], found[0]), dim.dim_param)
    return model


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Iterator[Tensor]) -> None:
        self._inputs = inputs

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._inputs, None)
        return None if batch is None else {INPUT: batch.numpy()}


def read_onnx_metadata(path: Path) -> Metadata:
    """Read the metadata of an ONNX file. Weights in other files are not read."""
    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def run_onnx(path: Path, device: torch.device) -> TensorFunction:
    """Load an ONNX file, and return the function that runs it.

    Raises:
        DeviceError: `device` is a GPU, and ONNX Runtime is installed without support for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a provider that is missing: the error below says so
        session = new_session(path, providers=_providers(device), threads=torch.get_num_threads())
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():  # it would take the CPU
        raise DeviceError(
            "ONNX Runtime cannot use CUDA here; use --device cpu, or install CUDA as onnxruntime-gpu asks"
        )

    def run(image: Tensor) -> Tensor:
        (answer,) = session.run(None, {INPUT: image.cpu().numpy()})
        return torch.from_numpy(answer).to(device)

    return run


def runs_on_gpu() -> bool:
    """Whether ONNX Runtime is installed with support for CUDA."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _providers(device: torch.device) -> list[Any]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type == "mps":
        raise DeviceError("ONNX files run on the CPU or on a CUDA GPU, not on mps; use --device cpu")
    if not runs_on_gpu():
        raise DeviceError(
            f"ONNX Runtime is installed without support for {device}; use --device cpu, or install onnxruntime-gpu"
        )
    return [("CUDAExecutionProvider", {"device_id": device.index or 0})]
