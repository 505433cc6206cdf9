"""A folder of drawn faces, and a parser that answers at once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from faceparse.core.api import FaceParser
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.images.encoding import encode_png
from faceparse.core.labelling.labelling import Labelling
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from tests.conftest import Bands


@pytest.fixture
def parser() -> FaceParser:
    """Eleven classes from dark to bright."""
    network = ParsingNetwork(Bands(), DataSettings(input_size=(97, 97)))  # type: ignore[arg-type]
    return FaceParser(Parser(network, torch.device("cpu")), get_label_set("helen"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photographs of 60 x 40 pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(["anna", "bert", "cleo"]):
        face = draw_face(np.random.default_rng(seed), 60).image
        (folder / f"{name}.png").write_bytes(encode_png(np.ascontiguousarray(face[:40])))
    return folder


@pytest.fixture
def labelling(photos: Path, parser: FaceParser) -> Iterator[Labelling]:
    with Labelling(photos, parser) as labelling:
        yield labelling
