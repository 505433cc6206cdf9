"""The light heads: what they give, and what trains what."""

import pytest
import torch
from torch import Tensor, nn

from faceparse.core.model.abn import norm_layer
from faceparse.core.model.build import build_model, light_heads
from faceparse.core.model.light import LightEAGRNet
from faceparse.core.model.mobilenet import mobilenet_v2
from faceparse.core.settings import ModelSettings

IMAGE = (2, 3, 64, 96)


def network(*, edge_head: bool = True, graph: bool = True) -> LightEAGRNet:
    torch.manual_seed(0)
    norm = norm_layer("torch", torch.device("cpu"))
    return light_heads(mobilenet_v2(), 5, norm, edge_head=edge_head, graph=graph)


def untrained(model: nn.Module, loss: Tensor) -> set[str]:
    """Names of the parameters that the loss has no gradient for."""
    loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}


@pytest.mark.parametrize("graph", [False, True])
def test_logits_have_a_quarter_of_the_size(graph: bool) -> None:
    output = network(graph=graph)(torch.randn(IMAGE))
    assert output.parsing.shape == (2, 5, 16, 24)
    assert output.edge is not None
    assert output.edge.shape == (2, 2, 16, 24)


def test_without_an_edge_head_there_are_no_edge_logits_and_no_graph() -> None:
    model = network(edge_head=False, graph=True)
    output = model(torch.randn(IMAGE))
    assert output.edge is None
    assert output.parsing.shape == (2, 5, 16, 24)
    assert not untrained(model, output.parsing.square().sum())
    assert not any("graph" in name for name, _ in model.named_modules())


def test_every_parameter_learns_from_the_two_outputs() -> None:
    model = network()
    output = model(torch.randn(IMAGE))
    assert output.edge is not None
    assert not untrained(model, output.parsing.square().sum() + output.edge.square().sum())


def test_the_parsing_loss_does_not_reach_the_edge_logits() -> None:
    """Through the features that edge head and parsing share, it trains all before the last convolution."""
    model = network()
    missing = untrained(model, model(torch.randn(IMAGE)).parsing.square().sum())
    assert missing == {"edge_head.predict.weight", "edge_head.predict.bias"}


def test_the_edge_logits_anchor_the_graph() -> None:
    """Other edge logits give another parsing; without a graph they change nothing."""
    for graph, changes in ((True, True), (False, False)):
        model = network(graph=graph).eval()
        image = torch.randn(IMAGE)
        with torch.inference_mode():
            before = model(image).parsing
            model.edge_head.predict.bias.add_(torch.tensor([-3.0, 3.0]))  # type: ignore[union-attr, arg-type]
            assert torch.equal(model(image).parsing, before) != changes


def test_maps_of_any_size_come_together() -> None:
    """Also of a picture whose sides are no multiples of 32."""
    model = network().eval()
    with torch.inference_mode():
        output = model(torch.randn(1, 3, 97, 70))
    assert output.parsing.shape[2:] == (25, 18)


def test_a_light_network_is_small() -> None:
    model = build_model(ModelSettings(backbone="mobilenet_v2"), 19)
    assert isinstance(model, LightEAGRNet)
    assert sum(p.numel() for p in model.parameters()) < 2.1e6


def test_the_light_heads_stand_on_a_strided_resnet_too() -> None:
    model = build_model(ModelSettings(backbone="resnet18", stem="torchvision", heads="light"), 5).eval()
    with torch.inference_mode():
        maps = model.backbone(torch.randn(1, 3, 64, 96))
        output = model(torch.randn(1, 3, 64, 96))
    assert [tuple(x.shape[1:]) for x in maps] == [(64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)]
    assert output.parsing.shape == (1, 5, 16, 24)
