"""A face detector with YuNet's inputs and outputs: one ONNX file whose faces are bright spots."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
SIDE = 24.0
"""Of the box around each spot, in pixels of what the detector sees."""
POINTS = np.array([[-4, -4], [4, -4], [0, 0], [-3, 4], [3, 4]], np.float32)
"""Landmarks from a spot's corner, in pixels."""


def make_detector(path: Path) -> Path:
    """Each cell of stride 8 whose mean is above 200 of 255 is a face; the other strides find nothing."""
    nodes, outputs, constants = [], [], []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    def flat(source: str, name: str, channels: int) -> None:
        """1 x C x H x W -> 1 x (H W) x C, as YuNet's outputs are."""
        nodes.append(helper.make_node("Transpose", [source], [f"{name}_t"], perm=[0, 2, 3, 1]))
        shape = constant(f"{name}_shape", np.array([1, -1, channels]))
        nodes.append(helper.make_node("Reshape", [f"{name}_t", shape], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, channels]))

    for stride in STRIDES:
        mean = constant(f"mean{stride}", np.full((1, 3, stride, stride), 1 / (3 * 255 * stride**2), np.float32))
        nodes.append(helper.make_node("Conv", ["input", mean], [f"grey{stride}"], strides=[stride] * 2))
        gain = 50.0 if stride == 8 else 0.0
        scaled = {"cls": (gain, -0.78 * gain), "obj": (gain, -0.78 * gain)}
        for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{kind}_{stride}"
            weight, bias = scaled.get(kind, (0.0, 0.0))
            offsets = np.full(channels, bias, np.float32)
            if kind == "bbox":
                offsets = np.array([0.5, 0.5, *[np.log(SIDE / stride)] * 2], np.float32)
            if kind == "kps":
                offsets = (POINTS.flatten() / stride).astype(np.float32)
            weights = constant(f"{name}_w", np.full((channels, 1, 1, 1), weight, np.float32))
            biases = constant(f"{name}_b", offsets)
            nodes.append(helper.make_node("Conv", [f"grey{stride}", weights, biases], [f"{name}_map"]))
            source = f"{name}_map"
            if kind in scaled:
                nodes.append(helper.make_node("Sigmoid", [source], [f"{name}_s"]))
                source = f"{name}_s"
            flat(source, name, channels)
    outputs.sort(
        key=lambda one: (["cls", "obj", "bbox", "kps"].index(one.name.split("_")[0]), int(one.name[-2:].strip("_")))
    )
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "detector", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path
