"""A network that needs no training: it knows the faces that `tests.core.faces.test_finder.draw_face` draws."""

from pathlib import Path

import torch
from torch import Tensor, nn

from faceparse.core.export.exported import to_metadata
from faceparse.core.export.graph import Graph, build_graph
from faceparse.core.export.onnx import OnnxWriter
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runtime.kinds import Kind, Sizes
from faceparse.core.settings import load_settings
from tests.core.faces.test_finder import COLOURS, GEOMETRY

HELEN = get_label_set("helen")
CLASSES = {"left_eye": 0, "right_eye": 1, "nose": 2, "inner_mouth": 3}
"""Class -> its colour's position."""


class Painted(ParsingModel):
    """A pixel is of the class that has its colour, everything grey is skin."""

    align_corners = False

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
        self.register_buffer("colours", torch.tensor(COLOURS, dtype=torch.float32).view(4, 3, 1, 1))

    def forward(self, image: Tensor) -> Output:
        pixels = 255 * (nn.functional.avg_pool2d(image, 4) * self.std + self.mean)  # N x 3 x h x w
        near = [8 * (1 - (pixels - self.colours[i]).abs().amax(dim=1) / 64) for i in CLASSES.values()]
        skin = torch.zeros_like(near[0])
        known = dict(zip(CLASSES, near, strict=True)) | {HELEN.names[1]: skin}
        return Output(torch.stack([known.get(name, skin - 9) for name in HELEN.names], dim=1), None)


def painted_onnx(path: Path, kind: Kind = "logits", sizes: Sizes = "any", size: str = "96,96") -> Path:
    """That network as `faceparse export` writes it."""
    settings = load_settings(options={"data.input_size": size, "data.label_set": "helen"})
    checkpoint = Checkpoint(path=path, settings=settings, label_set=HELEN, weights={}, geometry=GEOMETRY)
    graph: Graph = build_graph(ParsingNetwork(Painted(), settings.data).eval(), kind, sizes)
    assert graph.sizes == sizes
    with path.open("wb") as file:
        OnnxWriter(graph, to_metadata(checkpoint, kind, sizes)).write(file)
    return path
