"""Photographs whose colours are their classes, and a network that reads them: what is right scores 100 %."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceparse.core.datasets.layout import write_label_set
from faceparse.core.images.encoding import encode_png
from tests.core.foreign.networks import CELEBA, MEAN, STD


def painted_dataset(root: Path, sizes: tuple[tuple[int, int], ...] = ((128, 48), (64, 96), (64, 192))) -> Path:
    """A prepared dataset with a split `test`: blocks of 16 pixels, each in the colour of its class."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    lines = []
    for index, (height, width) in enumerate(sizes):
        ids = np.random.default_rng(index).permutation(np.arange(height * width // 256) % len(CELEBA))
        label = ids.reshape(height // 16, width // 16).astype(np.uint8).repeat(16, 0).repeat(16, 1)
        (root / f"labels/{index}.png").write_bytes(encode_png(label))
        (root / f"images/{index}.png").write_bytes(encode_png(CELEBA.palette()[label]))
        lines.append(f"images/{index}.png labels/{index}.png\n")
    (root / "test_list.txt").write_text("".join(lines))
    write_label_set(root, CELEBA)
    return root


def colour_reader(
    size: tuple[int, int], *, order: tuple[str, ...] = CELEBA.names, bgr: bool = False, worse: bool = False
) -> onnx.ModelProto:
    """A network that answers with the class of the nearest colour. Its input has ImageNet's mean and std.

    Args:
        order: classes in the order of its channels.
        worse: a first output that knows only some of the classes.
    """
    palette = CELEBA.palette().astype(np.float64)[list(CELEBA.ids(order))]
    colours = palette[:, ::-1] if bgr else palette
    kernel = 2 * colours * 255 * np.array(STD)
    bias = 2 * colours @ (255 * np.array(MEAN)) - (colours**2).sum(axis=1)
    nodes, weights, given = [], [], []
    for name, lost in (("half", 9), ("output", 0)) if worse else (("output", 0),):
        own = bias - 1e6 * (np.arange(len(bias)) >= len(bias) - lost)
        for suffix, values in (("k", kernel[..., None, None]), ("b", own)):
            weights.append(numpy_helper.from_array((values / 1000).astype(np.float32), f"{name}_{suffix}"))
        nodes.append(helper.make_node("Conv", ["input", f"{name}_k", f"{name}_b"], [name]))
        given.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", len(bias), *size]))
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, *size])
    graph = helper.make_graph(nodes, "colours", [source], given, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
