"""The figure of the network shows what the network does."""

import re

import pytest
import torch

from faceparse.core.model.build import build_model
from faceparse.core.settings import ModelSettings
from tests.docs.shown import ROOT

FIGURES = ROOT / "docs" / "assets"
SIDE = 480


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """Name of each box -> its last line."""
    text = (FIGURES / "network.svg").read_text("utf-8")
    boxes = re.findall(r'class="name"[^>]*>([^<]+)<(.*?)(?=<rect|</svg>)', text, re.DOTALL)
    return {name: next((line for line in re.findall(r">(\d+ ch, 1/\d)<", rest)), "") for name, rest in boxes}


def test_every_size_is_the_networks_own(shown: dict[str, str]) -> None:
    """Nothing is computed: on the meta device there are only shapes."""
    maps: dict[str, torch.Tensor] = {}
    with torch.device("meta"):
        model = build_model(ModelSettings(norm="torch"), 11, torch.device("meta")).eval()
        parts = {f"stage{i + 1}": stage for i, stage in enumerate(model.backbone.stages)}
        parts |= {"stem": model.backbone.stem[-1], "PyramidPooling": model.pyramid, "EdgeHead": model.edge_head}
        parts |= {"shallow_graph": model.shallow_graph, "deep_graph": model.deep_graph}
        for name, part in parts.items():
            part.register_forward_hook(lambda _, __, found, name=name: maps.update({name: found}))
        image = torch.zeros(1, 3, SIDE, SIDE)
        output = model(image)
    maps |= {"image": image, "edge": output.edge}
    assert {name: f"{found.shape[1]} ch, 1/{SIDE // found.shape[2]}" for name, found in maps.items()} == {
        name: text for name, text in shown.items() if text
    }
    assert SIDE // output.parsing.shape[2] == 4
    assert {"Decoder", "parsing, 1/4"} <= shown.keys()


def test_every_name_is_one_of_the_code() -> None:
    folder = ROOT / "faceparse" / "core" / "model"
    source = "".join((folder / name).read_text("utf-8") for name in ("eagrnet.py", "resnet.py"))
    names = re.findall(
        r'class="name"[^>]*>([^<]+)<', "".join(path.read_text("utf-8") for path in FIGURES.glob("*.svg"))
    )
    words = {word for name in names for word in re.findall(r"[A-Za-z_]{4,}\d?", name)} - {"stem"}
    assert len(words) > 12
    assert {word for word in words if word not in source} == set()
