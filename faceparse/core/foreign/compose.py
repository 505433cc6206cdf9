"""Joins a foreign graph with what makes of its output the logits that faceparse expects, as one ONNX graph."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceparse.core.foreign.foreign_description import Description
from faceparse.core.foreign.foreign_file import ForeignFile, opset_of
from faceparse.core.runtime.onnx_model import INPUT, SURE

OUTPUT = "parsing"
TINY = float(np.finfo(np.float32).tiny)
"""Smallest probability whose logarithm is taken; a probability of 0 counts as this."""

_PREFIX = "foreign/"
"""Before every name of the foreign graph, so that none is one of ours."""


def compose(file: ForeignFile, description: Description, input_name: str, output_name: str) -> onnx.ModelProto:
    """A model that takes `image`, N x 3 x H x W float32, and gives `parsing`, N x C x H x W float32 logits.

    Only nodes that this output needs are kept; auxiliary heads are dropped.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    (source,) = (one for one in graph.input if one.name == input_name)
    batch, _, *_ = source.type.tensor_type.shape.dim
    sides = ["batch" if not batch.dim_value else batch.dim_value, 3, *description.input.size]
    given = source.type.tensor_type.elem_type
    kept = _needed(graph, output_name)
    _rename(graph)
    for part in ("node", "input", "output", "quantization_annotation", "doc_string", "metadata_props"):
        graph.ClearField(part)
    graph.ClearField("value_info")  # shapes that hold for the exporter's own example
    end = _Nodes(opset_of(model))
    end.add("Cast", [INPUT], output=_PREFIX + input_name, to=given)
    end.nodes += kept
    for node in kept:
        _rename_node(node)
    _finish(end, _PREFIX + output_name, description)
    graph.node.extend(end.nodes)
    used = {name for node in graph.node for name in _inputs(node)}
    for tensors in (graph.initializer, graph.sparse_initializer):
        for index in reversed(range(len(tensors))):
            if _name(tensors[index]) not in used:
                del tensors[index]
    graph.initializer.extend(end.constants)
    classes = len(description.classes)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, sides))
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [sides[0], classes, *description.input.size])
    )
    for field in ("doc_string", "metadata_props"):
        model.ClearField(field)
    return model


def _finish(end: "_Nodes", found: str, description: Description) -> None:
    """Add the nodes from the foreign output to the logits."""
    stride, values = description.output.stride, description.output.values
    if values == "ids":
        _finish_ids(end, found, description)
        return
    found = end.add("Cast", [found], to=TensorProto.FLOAT)
    if description.channels != tuple(range(len(description.channels))):
        found = end.add("Gather", [found, end.constant(np.array(description.channels, np.int64))], axis=1)
    if stride > 1:
        found = end.enlarge(found, stride, mode="linear", coordinate_transformation_mode="half_pixel")
    if values == "probabilities":
        found = end.add("Log", [end.add("Max", [found, end.constant(np.array(TINY, np.float32))])])
    end.add("Identity", [found], output=OUTPUT)


def _finish_ids(end: "_Nodes", found: str, description: Description) -> None:
    """Ids -> logits: `SURE` for the answered class, 0 for the others.

    An id that is no class must not look like background: the table has no row for it, and the runtime stops.
    """
    classes = len(description.classes)
    order = np.argsort(description.channels)  # foreign id -> our id
    ids = end.add("Cast", [found], to=TensorProto.INT64)
    ids = end.add("Reshape", [ids, end.constant(np.array([0, 1, *description.cells], np.int64))])
    negative = end.add("Less", [ids, end.constant(np.array(0, np.int64))])
    ids = end.add("Where", [negative, end.constant(np.array(classes, np.int64)), ids])
    ids = end.add("Gather", [end.constant(order.astype(np.float32)), ids], axis=0)
    if description.output.stride > 1:
        ids = end.enlarge(
            ids, description.output.stride, mode="nearest", coordinate_transformation_mode="half_pixel",
            nearest_mode="round_prefer_floor",
        )  # fmt: skip
    each = end.constant(np.arange(classes, dtype=np.float32).reshape(1, classes, 1, 1))
    near = end.add("Abs", [end.add("Sub", [ids, each])])
    is_class = end.add("Less", [near, end.constant(np.array(0.5, np.float32))])
    sure = end.add("Cast", [is_class], to=TensorProto.FLOAT)
    end.add("Mul", [sure, end.constant(np.array(SURE, np.float32))], output=OUTPUT)


class _Nodes:
    """Nodes with names of their own, and the constants that they use."""

    def __init__(self, opset: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._opset = opset

    def add(self, kind: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        output = output or f"faceparse/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/node", **attributes))
        return output

    def enlarge(self, found: str, stride: int, **attributes: Any) -> str:
        """Add a resize by a whole factor. Its edges lie on each other."""
        scales = self.constant(np.array([1, 1, stride, stride], np.float32))
        return self.add("Resize", [found, self.constant(np.zeros(0, np.float32)), scales], **attributes)

    def constant(self, value: np.ndarray) -> str:
        """Add a constant and return its name."""
        name = f"faceparse/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """Nodes that the output needs, in the order of the graph."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needed, waiting = set[int](), [output]
    while waiting:
        index = makers.get(waiting.pop(), -1)
        if index >= 0 and index not in needed:
            needed.add(index)
            waiting += _inputs(graph.node[index])
    kept = [onnx.NodeProto() for _ in needed]
    for node, index in zip(kept, sorted(needed), strict=True):
        node.CopyFrom(graph.node[index])
    return kept


def _inputs(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, also those of the graph around it that its branches read."""
    names = list(node.input)
    for attribute in node.attribute:
        for branch in (attribute.g, *attribute.graphs):
            for inner in branch.node:
                names += _inputs(inner)
            names += [one.name for one in branch.output]
    return names


def _rename(graph: onnx.GraphProto) -> None:
    """Put the prefix before the names of weights, inputs and outputs; those that nodes use are `_rename_node`'s."""
    for one in (*graph.initializer, *graph.input, *graph.output):
        one.name = _PREFIX + one.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _PREFIX + sparse.values.name


def _rename_node(node: onnx.NodeProto) -> None:
    for names in (node.input, node.output):
        for index, name in enumerate(names):
            names[index] = name and _PREFIX + name
    for attribute in node.attribute:
        for branch in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            _rename(branch)
            del branch.value_info[:]
            for inner in branch.node:
                _rename_node(inner)


def _name(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> str:
    return tensor.values.name if isinstance(tensor, onnx.SparseTensorProto) else tensor.name
