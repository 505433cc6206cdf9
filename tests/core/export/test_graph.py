import numpy as np
import pytest
import torch
from torch import Tensor

from faceparse.core.export.graph import MAX_BATCH, GraphNetwork, build_graph
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.settings import DataSettings, ModelSettings
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("kind", ["logits", "labels"])
def test_a_graph_as_a_network_is_the_checkpoints(trained: RunResult, crops: Tensor, kind: str) -> None:
    checkpoint = read_checkpoint(trained.best)
    graph = build_graph(checkpoint.network(CPU), kind)  # type: ignore[arg-type]
    assert graph.example.shape == ((2, 3, 64, 64) if kind == "logits" else (2, 64, 64, 3))
    network = GraphNetwork(kind, graph.module, checkpoint.settings.data, 11)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected, found = checkpoint.network(CPU)(crops), network(crops)
    assert network.input_size == (64, 64)
    if kind == "logits":
        torch.testing.assert_close(found, expected)
    else:
        assert (found.shape, found.dtype) == (expected.shape, torch.float32)
        assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))
        torch.testing.assert_close(found.softmax(dim=1).amax(dim=1), torch.ones(3, 64, 64))  # as sure as can be


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_a_program_does_nothing_in_place_and_its_network_goes_on_as_before(backbone: str) -> None:
    """An exporter takes each operation in place apart, which makes up a third of its time."""
    settings = ModelSettings(backbone=backbone, stem="torchvision", norm="torch")
    network = ParsingNetwork(build_model(settings, 11).eval(), DataSettings(input_size=(64, 64)))
    before = [part for part in network.modules() if getattr(part, "inplace", False)]
    assert before
    program = build_graph(network, "logits").program
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert not [target for target in called if getattr(target, "_schema", None) and target._schema.is_mutable]
    assert [part for part in network.modules() if getattr(part, "inplace", False)] == before


def test_more_crops_than_a_graph_takes_are_run_in_parts() -> None:
    asked = []

    def run(image: Tensor) -> Tensor:
        asked.append(len(image))
        return image[:, :2]

    data = DataSettings(input_size=(32, 40))
    crops = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (MAX_BATCH + 3, 32, 40, 3), np.uint8))
    found = GraphNetwork("logits", run, data, 2)(crops)
    assert asked == [MAX_BATCH, 3]
    expected = (crops.permute(0, 3, 1, 2)[:, :2] / 255 - torch.tensor(data.mean)[:2, None, None]) / torch.tensor(
        data.std
    )[:2, None, None]
    torch.testing.assert_close(found, expected)
