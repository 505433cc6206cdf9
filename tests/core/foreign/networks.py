"""Foreign networks with random weights, as ONNX files: BiSeNet by its paper, and small ones for single questions."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.models import resnet18

from faceparse.core.foreign.foreign_description import Description, Input, Output
from faceparse.core.labels.label_set import LabelSet, get_label_set

CELEBA = get_label_set("celebamask-hq")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _conv(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU())


class _Attention(nn.Module):
    """Attention refinement: a map, weighted by its own mean."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = _conv(inside, outside)
        self.weigh = nn.Sequential(nn.Conv2d(outside, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.weigh(x.mean((2, 3), keepdim=True))


class _Fusion(nn.Module):
    """Feature fusion: both paths joined, and weighted by their mean."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.join = _conv(inside, outside, 1)
        self.weigh = nn.Sequential(
            nn.Conv2d(outside, outside // 4, 1), nn.ReLU(), nn.Conv2d(outside // 4, outside, 1), nn.Sigmoid()
        )

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.join(torch.cat([spatial, context], dim=1))
        return x + x * self.weigh(x.mean((2, 3), keepdim=True))


class BiSeNet(nn.Module):
    """BiSeNet (Yu et al., ECCV 2018): ResNet-18 as context path, its 1/8 map as spatial path, three outputs."""

    def __init__(self, classes: int = 19) -> None:
        super().__init__()
        self.net = resnet18()
        self.around = _conv(512, 128, 1)
        self.refine16, self.refine32 = _Attention(256, 128), _Attention(512, 128)
        self.smooth16, self.smooth32 = _conv(128, 128), _conv(128, 128)
        self.fusion = _Fusion(256, 256)
        self.heads = nn.ModuleList(
            nn.Sequential(_conv(inside, inside), nn.Conv2d(inside, classes, 1)) for inside in (256, 128, 128)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        net, size = self.net, image.shape[2:]
        x = net.maxpool(net.relu(net.bn1(net.conv1(image))))
        eighth = net.layer2(net.layer1(x))
        sixteenth = net.layer3(eighth)
        last = net.layer4(sixteenth)
        around = self.around(last.mean((2, 3), keepdim=True))
        up32 = self.smooth32(F.interpolate(self.refine32(last) + around, scale_factor=2.0))
        up16 = self.smooth16(F.interpolate(self.refine16(sixteenth) + up32, scale_factor=2.0))
        maps = (self.fusion(eighth, up16), up16, F.interpolate(up32, scale_factor=2.0))
        answers = (head(one) for head, one in zip(self.heads, maps, strict=True))
        return tuple(F.interpolate(one, size, mode="bilinear", align_corners=True) for one in answers)


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode, with norm layers that let its random answers differ from place to place."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return network.eval()


def export_onnx(
    network: nn.Module,
    path: Path,
    size: tuple[int, int],
    *,
    inputs: Sequence[str] = ("input",),
    outputs: Sequence[str] = ("output",),
    batch: bool = True,
) -> Path:
    """Write a network as PyTorch's exporter writes it; `batch` says whether it takes any number of pictures."""
    example = torch.zeros(2 if batch else 1, 3, *size)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if batch else None
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network, (example,), path, dynamo=True, input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=shapes, external_data=False,
        )  # fmt: skip
    return path


def describe(
    size: tuple[int, int],
    label_set: LabelSet = CELEBA,
    *,
    classes: Sequence[str] | None = None,
    output: Output | None = None,
    **picture: object,
) -> Description:
    """A description of a stretched RGB input with ImageNet's mean and std; `picture` replaces parts of it."""
    told = {"size": size, "fit": "stretch", "channel_order": "rgb", "scale": 1.0, "mean": MEAN, "std": STD} | picture
    return Description(
        name="a network",
        label_set=label_set,
        classes=tuple(classes or label_set.names),
        input=Input.model_validate(told),
        output=output or Output(position=1, values="logits", stride=1),
    )


def small_model(
    *,
    classes: int = 19,
    size: tuple[int | str, int | str] = (64, 96),
    batch: int | str = "n",
    stride: int = 4,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    input_name: str = "input",
    outputs: Sequence[str] = ("output",),
    values: str = "logits",
) -> onnx.ModelProto:
    """One convolution with a stride, and for each further output another one. `values` as in descriptions."""
    random = np.random.default_rng(5)
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    nodes, weights, given = [], [], []
    for index, name in enumerate(outputs):
        kernel = random.normal(size=(classes, 3, stride, stride)).astype(dtype)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        end = name if values == "logits" else f"{name}_logits"
        nodes.append(helper.make_node("Conv", [input_name, f"w{index}"], [end], strides=[stride, stride]))
        given_type, shape = kind, [batch, classes, None, None]
        if values == "probabilities":
            nodes.append(helper.make_node("Softmax", [end], [name], axis=1))
        if values == "ids":
            nodes.append(helper.make_node("ArgMax", [end], [name], axis=1, keepdims=0))
            given_type, shape = TensorProto.INT64, [batch, None, None]
        given.append(helper.make_tensor_value_info(name, given_type, shape))
    source = helper.make_tensor_value_info(input_name, kind, [batch, 3, *size])
    graph = helper.make_graph(nodes, "small", [source], given, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
