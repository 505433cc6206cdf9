"""Files of strangers: nothing of them runs, nothing beside their folder is read, and each refusal is one line."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from faceparse.core.errors import CheckpointError
from faceparse.core.foreign.foreign_description import Output
from faceparse.core.foreign.foreign_file import read_foreign
from faceparse.core.foreign.import_model import Importer
from tests.core.foreign.networks import describe, save, small_model

DESCRIPTION = describe((64, 96), output=Output(position=1, values="logits", stride=4))


def refused(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=rf"^(?=[^\n]*{path.name})[^\n]*{message}[^\n]*$"):
        Importer(read_foreign(path), DESCRIPTION)


def _custom(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "org.pytorch.aten"
    model.opset_import.append(helper.make_opsetid("org.pytorch.aten", 1))


def _body() -> onnx.GraphProto:
    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    number = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    given = helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])
    return helper.make_graph([helper.make_node("Identity", ["go"], ["go_on"])], "body", [number, flag], [given])


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=_body()))


def _loop_in_a_branch(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Loop", ["", ""], [], body=_body())], "then", [], [])
    model.graph.node.append(helper.make_node("If", ["yes"], [], then_branch=inner, else_branch=inner))


def _newer(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def _newer_format(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def _older(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


def _functions(model: onnx.ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [node], model.opset_import))


def _beam_search(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("BeamSearch", [], [], domain="com.microsoft", decoder=_body()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_custom, "has the operator Conv of org.pytorch.aten, which needs code of others"),
        (_loop, "has a Loop, whose graph could run for ever"),
        (_loop_in_a_branch, "has a Loop, whose graph could run for ever"),
        (_beam_search, "has a BeamSearch, whose graph could run for ever"),
        (_newer, r"is of a newer ONNX \(operators 99, format 8\) than the package onnx here .*; export it with opset"),
        (_newer_format, r"is of a newer ONNX \(operators 17, format 99\)"),
        (_older, "its operators are of ONNX opset 9; export it with opset 11 or newer"),
        (_functions, r"has functions of its own \(F\); export it with plain operators"),
    ],
)
def test_what_could_run_is_refused(tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = small_model()
    change(model)
    refused(save(model, tmp_path / "f.onnx"), message)


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    for content, message in (
        (b"\xff" * 100, "not an ONNX file, or a damaged one"),
        (b"", "not an ONNX file: it has no graph"),
        (b"<!doctype html><html>", "a web page, not a model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (small_model().SerializeToString()[:-900], "not an ONNX file, or a damaged one"),
    ):
        path.write_bytes(content)
        refused(path, message)
    refused(tmp_path, "is a folder; import takes the .onnx file")
    refused(tmp_path / "none.onnx", "no such file")


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "zero.onnx"):
        refused(tmp_path / name, "it is no regular file")


def _outside(folder: Path, place: str, *, constant: bool = False) -> Path:
    """A model whose weights lie in another file; or those of a constant in a node."""
    model = small_model()
    tensor = model.graph.initializer[0]
    (folder.parent / "outside").write_bytes(tensor.raw_data)
    if constant:
        node = helper.make_node("Constant", [], ["w0"], value=tensor)
        del model.graph.initializer[:]
        model.graph.node.insert(0, node)
        tensor = model.graph.node[0].attribute[0].t
    set_external_data(tensor, place)
    tensor.ClearField("raw_data")
    return save(model, folder / "f.onnx")


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("place", ["../outside", "absolute", "", "link", "folder/inner"])
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, place: str, constant: bool) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to("../outside")
    place = str(tmp_path / "outside") if place == "absolute" else place
    path = _outside(folder, place, constant=constant)
    refused(path, "outside its folder; only files beside it are read")


def test_weights_in_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    os.mkfifo(tmp_path / "model" / "pipe")
    refused(_outside(tmp_path / "model", "pipe"), "its weights in 'pipe' cannot be read .*no regular file")


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    """As PyTorch's exporter writes them by default; cut short, they are refused."""
    whole = save(small_model(), tmp_path / "whole.onnx")
    parted = small_model()
    onnx.save_model(
        parted, tmp_path / "parted.onnx", save_as_external_data=True, location="parted.data", size_threshold=0
    )
    found = read_foreign(tmp_path / "parted.onnx")
    assert found.model == read_foreign(whole).model
    report = Importer(found, DESCRIPTION).write(tmp_path / "bundle")
    assert report.checks[0].agreement == 1
    (tmp_path / "parted.data").write_bytes((tmp_path / "parted.data").read_bytes()[:-4])
    refused(tmp_path / "parted.onnx", "its weights in 'parted.data' are cut short")


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (0, -2), (0, 2**40)])
def test_a_place_in_a_file_that_cannot_be_is_refused(tmp_path: Path, offset: int, length: int) -> None:
    model = small_model()
    tensor = model.graph.initializer[0]
    (tmp_path / "data").write_bytes(tensor.raw_data)
    set_external_data(tensor, "data", offset=offset, length=length)
    tensor.ClearField("raw_data")
    refused(save(model, tmp_path / "f.onnx"), "its weights in 'data' cannot be read")


def test_branches_are_kept_with_what_they_read(tmp_path: Path) -> None:
    """Old exporters write an If, whose branches read weights of the graph around them."""
    model = small_model()
    branches = []
    for name in ("then", "else"):
        inner = helper.make_node("Conv", ["input", "w0"], [f"{name}_out"], strides=[4, 4])
        given = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        branches.append(helper.make_graph([inner], name, [], [given]))
    del model.graph.node[:]
    yes = helper.make_tensor("yes_value", TensorProto.BOOL, [], np.array([True]))
    model.graph.node.append(helper.make_node("Constant", [], ["yes"], value=yes))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["output"], then_branch=branches[0], else_branch=branches[1])
    )
    report = Importer(read_foreign(save(model, tmp_path / "f.onnx")), DESCRIPTION).write(tmp_path / "bundle")
    assert min(check.agreement for check in report.checks) == 1
