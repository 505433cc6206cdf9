import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from faceparse.core.errors import DeviceError, ExportError, SettingsError
from faceparse.core.export import onnx as onnx_format
from faceparse.core.export.graph import Graph
from faceparse.core.export.onnx import OPSETS, OnnxWriter, check_opset, read_onnx_metadata, run_onnx

CPU = torch.device("cpu")
METADATA = {"kind": "logits", "note": "ä"}


@pytest.fixture(scope="module")
def writer(graph: Graph) -> OnnxWriter:
    return OnnxWriter(graph, METADATA)


@pytest.fixture(scope="module")
def written(writer: OnnxWriter, images: Tensor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")

    def write(name: str, fill: Callable[[BinaryIO], None]) -> Path:
        with (folder / f"{name}.onnx").open("wb") as file:
            fill(file)
        return folder / f"{name}.onnx"

    calibrate = [image.unsqueeze(0) for image in images]
    return {
        "fp32": write("fp32", writer.write),
        "fp16": write("fp16", writer.write_fp16),
        "int8": write("int8", lambda file: writer.write_int8(file, iter(calibrate))),
    }


@pytest.mark.parametrize(("precision", "largest"), [("fp32", 1e-5), ("fp16", 2e-2), ("int8", 0.1)])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_each_precision_answers_like_pytorch_at_any_batch(
    graph: Graph, images: Tensor, written: dict[str, Path], precision: str, largest: float, batch: int
) -> None:
    with torch.inference_mode():
        expected = graph.module(images[:batch])
    found = run_onnx(written[precision], CPU)(images[:batch])
    assert (found.shape, found.dtype) == ((batch, 5, 24, 32), torch.float32)
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference <= largest
    assert float(expected.std()) > 0.1
    assert (difference > 1e-4) == (precision != "fp32")  # else nothing was made smaller


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_file_is_whole_and_says_what_it_holds(written: dict[str, Path], precision: str) -> None:
    onnx.checker.check_model(str(written[precision]), full_check=True)
    assert read_onnx_metadata(written[precision]) == METADATA
    model = onnx.load(written[precision])
    (image,), (parsing,) = model.graph.input, model.graph.output
    assert (image.name, parsing.name) == ("image", "parsing")
    sizes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (image, parsing)]
    assert sizes == [["batch", 3, 24, 32], ["batch", 5, 24, 32]]


def test_weights_take_the_bits_of_their_precision(written: dict[str, Path]) -> None:
    kinds = {name: _weights(onnx.load(path)) for name, path in written.items()}
    assert kinds["fp32"] == {np.dtype(np.float32)}
    assert kinds["fp16"] == {np.dtype(np.float16)}
    assert kinds["int8"] == {np.dtype(np.int8)}


def _weights(model: onnx.ModelProto) -> set[np.dtype]:  # type: ignore[type-arg]
    """Types of the stored kernels."""
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return {array.dtype for array in arrays if array.ndim == 4 and array.size > 100}


def test_each_channel_is_quantised_by_itself(graph: Graph, written: dict[str, Path]) -> None:
    """The stored kernels, times their scales, are the network's to half a step."""
    model = onnx.load(written["int8"])
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    (node,) = [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and arrays.get(node.input[0], np.zeros(0)).shape == (5, 16, 3, 3)
    ]
    kernel, scale = arrays[node.input[0]], arrays[node.input[1]]
    assert scale.shape == (5,)
    expected = graph.module.body[3].weight.detach().numpy()  # type: ignore[index, union-attr]
    assert np.abs(kernel * scale[:, None, None, None] - expected).max() <= scale.max() * 0.51
    assert np.abs(kernel).max(axis=(1, 2, 3)).tolist() == [127] * 5


def test_a_gpu_without_a_runtime_for_it_is_said(written: dict[str, Path]) -> None:
    with pytest.raises(DeviceError, match="^ONNX Runtime is installed without support for cuda:0; use --device cpu"):
        run_onnx(written["fp32"], torch.device("cuda", 0))


def test_the_opset_is_the_one_that_was_asked_for(graph: Graph, images: Tensor, tmp_path: Path) -> None:
    with torch.inference_mode():
        expected = graph.module(images)
    for opset in (OPSETS[0], OPSETS[-1]):
        path = tmp_path / f"{opset}.onnx"
        with path.open("wb") as file:
            OnnxWriter(graph, METADATA, opset=opset).write(file)
        assert [one.version for one in onnx.load(path).opset_import if one.domain == ""] == [opset]
        assert float((run_onnx(path, CPU)(images) - expected).abs().max()) < 1e-4


def test_an_opset_that_the_graph_did_not_get_is_said(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch only logs a conversion that failed."""
    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *given, opset_version, **named: export(*given, **named))
    with pytest.raises(ExportError, match="^--opset 18: the graph needs operators of opset [0-9]+; leave --opset out$"):
        OnnxWriter(graph, METADATA, opset=18).write(io.BytesIO())


@pytest.mark.parametrize("opset", [-1, 0, 17, 99])
def test_an_opset_from_the_future_or_the_past_is_one_line(opset: int) -> None:
    with pytest.raises(SettingsError) as caught:
        check_opset(opset)
    assert str(caught.value) == f"--opset {opset}: PyTorch writes opsets 18 to 23; name one of them"
    check_opset(None)


def test_a_runtime_that_would_take_the_cpu_for_a_gpu_is_refused(
    written: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so in silence where its CUDA libraries cannot be loaded."""
    monkeypatch.setattr(onnx_format, "runs_on_gpu", lambda: True)
    with pytest.raises(DeviceError, match="^ONNX Runtime cannot use CUDA here; use --device cpu"):
        run_onnx(written["fp32"], torch.device("cuda", 0))


def test_onnx_does_not_run_on_mps(written: dict[str, Path]) -> None:
    with pytest.raises(DeviceError, match="^ONNX files run on the CPU or on a CUDA GPU, not on mps; use --device cpu"):
        run_onnx(written["fp32"], torch.device("mps"))
