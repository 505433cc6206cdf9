"""What is refused of an ONNX file before the runtime may run it."""

from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from faceparse.core.runtime.onnx_model import new_session


def endless() -> onnx.ModelProto:
    """A graph whose loop ends when its input says so."""
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    again = helper.make_tensor_value_info("again", TensorProto.BOOL, [])
    kept = helper.make_tensor_value_info("kept", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["again"]), helper.make_node("Identity", ["was"], ["kept"])],
        "body",
        [turn, go, helper.make_tensor_value_info("was", TensorProto.BOOL, [])],
        [again, kept],
    )
    node = helper.make_node("Loop", ["", "start", "start"], ["end"], body=body)
    start, end = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("start", "end"))
    return helper.make_model(
        helper.make_graph([node], "graph", [start], [end]), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message that holds bytes."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size % 128 | 128]), size // 128
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize("written", [b"\x22\x04", b"\x22\x84\x00", b"\xa2\x00\x84\x80\x00"])
def test_a_loop_is_refused_however_its_name_is_written(tmp_path: Path, written: bytes) -> None:
    model = endless()
    node = model.graph.node[0].SerializeToString().replace(b"\x22\x04Loop", written + b"Loop")
    del model.graph.node[:]
    graph = model.graph.SerializeToString() + field(1, node)
    model.ClearField("graph")
    data = model.SerializeToString() + field(7, graph)
    assert onnx.load_from_string(data).graph.node[0].op_type == "Loop"
    (tmp_path / "loop.onnx").write_bytes(data)
    with pytest.raises(ValueError, match="its graph has a Loop, which could run for ever"):
        new_session(tmp_path / "loop.onnx")


def test_a_file_in_the_runtimes_own_format_is_refused(tmp_path: Path) -> None:
    """Nobody has looked through it for loops."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loop.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(endless().SerializeToString(), options, providers=["CPUExecutionProvider"])
    (tmp_path / "loop.ort").rename(tmp_path / "loop.onnx")
    assert onnxruntime.InferenceSession((tmp_path / "loop.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    with pytest.raises(Exception, match=r"(?i)protobuf|parse|invalid"):
        new_session(tmp_path / "loop.onnx")
