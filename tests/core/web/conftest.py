"""The page's application: for starlette's own client, and served for real."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from faceparse.core.api import FaceParser
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.images.encoding import encode_png
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings
from faceparse.core.web.application import web_application
from faceparse.core.web.server import listen, server, url
from tests.conftest import Bands

HELEN = get_label_set("helen")


@pytest.fixture
def face() -> np.ndarray:
    """160 x 160 x 3 uint8 RGB."""
    return draw_face(np.random.default_rng(7), 160).image


@pytest.fixture
def face_png(face: np.ndarray) -> bytes:
    return encode_png(face)


@pytest.fixture
def parser() -> FaceParser:
    """Eleven classes from dark to bright."""
    network = ParsingNetwork(Bands(), DataSettings(input_size=(97, 97)))  # type: ignore[arg-type]
    return FaceParser(Parser(network, torch.device("cpu")), HELEN)


@pytest.fixture
def application(parser: FaceParser) -> ASGIApp:
    return web_application(parser, "runs/mine/best.pth")


@pytest.fixture
def client(application: ASGIApp) -> Iterator[TestClient]:
    """Asks as the page does: by the server's own name, from its own origin."""
    with TestClient(application, "http://127.0.0.1:8420", headers={"Origin": "http://127.0.0.1:8420"}) as client:
        yield client


@pytest.fixture
def served(application: ASGIApp) -> Iterator[str]:
    """The address of a real server on a free port."""
    with listen(0) as listening:
        running = server(application)
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        yield url(listening)
        running.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()
