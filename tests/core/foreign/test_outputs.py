"""An output that is not as described is refused in one line, which names the one that is."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from faceparse.core.errors import CheckpointError
from faceparse.core.foreign.foreign_description import Output
from faceparse.core.foreign.foreign_file import read_foreign
from faceparse.core.foreign.import_model import Importer
from faceparse.core.labels.label_set import get_label_set
from tests.core.foreign.networks import describe, save, small_model


def refused(tmp_path: Path, model: onnx.ModelProto, message: str, output: dict[str, Any], **options: Any) -> None:
    path = save(model, tmp_path / "f.onnx")
    told = Output.model_validate({"position": 1, "values": "logits", "stride": 4} | output)
    with pytest.raises(CheckpointError, match=rf"^[^\n]*f\.onnx: {message}[^\n]*$"):
        Importer(read_foreign(path), describe((64, 96), output=told, **options))


@pytest.mark.parametrize(
    ("made", "output", "message"),
    [
        ({}, {"name": "main", "position": None}, r"has no output 'main'; its outputs: output; 'output' fits, name it"),
        ({}, {"position": 3}, "has 1 outputs, none at position 3; 'output' fits"),
        ({"classes": 18}, {}, r"its output 'output' has 18 channels, where 19 classes are described \(classes\)"),
        ({}, {"stride": 8}, r"its .* is 1 x 19 x 16 x 24, .* are 1 x 19 x 8 x 12 \(stride = 4 fits\)"),
        ({"values": "ids"}, {"values": "ids", "stride": 8}, r"its .* where ids of stride 8 are 1 x 8 x 12 \(stri"),
        ({}, {"values": "ids"}, r"its output 'output' is of float32, where ids are whole numbers \(output.values\)"),
        ({"values": "ids"}, {}, r"its output 'output' is of int64, where logits are floats; are they ids\?"),
        ({"values": "probabilities"}, {}, "its output 'output' sums to 1 over the classes: these are probabilities"),
        ({}, {"values": "probabilities"}, "its output 'output' has numbers from .*, which are no probabilities"),
        ({"values": "ids", "classes": 40}, {"values": "ids"}, r"its output 'output' gives the id \d+, where 19"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line(tmp_path: Path, made: Any, output: Any, message: str) -> None:
    refused(tmp_path, small_model(**made), message, output)


def test_the_output_that_fits_is_named(tmp_path: Path) -> None:
    """An auxiliary head at half the size of the answer."""
    model = small_model(outputs=("answer", "inner"))
    model.graph.node[1].attribute[0].ints[:] = [8, 8]
    message = "its output 'inner' is 1 x 19 x 8 x 12, where .*; 'answer' fits, name it under"
    refused(tmp_path, model, message, {"name": "inner", "position": None})


def test_eighteen_classes_for_nineteen_channels(tmp_path: Path) -> None:
    whole = get_label_set("celebamask-hq")
    classes = {name: colour for name, colour in whole.classes.items() if name != "hat"}
    fewer = whole.model_copy(update={"name": "mine", "classes": classes})
    message = r"its output 'output' has 19 channels, where 18 classes are described \(classes\)"
    refused(tmp_path, small_model(), message, {}, label_set=fewer)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    model = small_model()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((19, 3, 4, 4), np.nan, np.float32), "w0"))
    refused(tmp_path, model, r"its output 'output' holds what is no number \(nan or inf\)", {})


@pytest.mark.parametrize(
    ("made", "picture", "message"),
    [
        ({}, {"name": "pixel_values"}, "has no input 'pixel_values'; its inputs: input"),
        ({"size": (32, 96)}, {}, r"its input 'input' takes N x 3 x 32 x 96, the description says 64 x 96 \(inp"),
        ({"batch": 4}, {}, "takes 4 pictures at a time, no more and no fewer"),
    ],
)  # fmt: skip
def test_an_input_that_is_not_as_described(tmp_path: Path, made: Any, picture: Any, message: str) -> None:
    refused(tmp_path, small_model(**made), message, {}, **picture)


def test_other_kinds_of_input(tmp_path: Path) -> None:
    model = small_model()
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    model.graph.node.insert(0, helper.make_node("Cast", ["input"], ["floats"], to=onnx.TensorProto.FLOAT))
    model.graph.node[1].input[0] = "floats"
    refused(tmp_path, model, r"its input 'input' takes tensor\(uint8\), not floats", {})
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    refused(tmp_path, model, r"takes 2 inputs \(input, mask\); a network takes one picture", {})
    model = small_model()
    del model.graph.input[0].type.tensor_type.shape.dim[3]
    refused(tmp_path, model, "(cannot be run|its input 'input' takes N x 3 x 64, not N x 3 x H x W)", {})
