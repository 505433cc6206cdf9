import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet, EdgeAwareGraph, GraphReasoning, Output, pool_by_product
from faceparse.core.settings import ModelSettings

NORMS = [
    "torch",
    pytest.param(
        "inplace_abn", marks=pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
    ),
]


@pytest.fixture
def network() -> EAGRNet:
    torch.manual_seed(0)
    return build_model(ModelSettings(backbone="resnet18", stem="torchvision", norm="torch"), 5)


def gradients(module: nn.Module) -> list[float]:
    return [0.0 if p.grad is None else float(p.grad.abs().sum()) for p in module.parameters()]


def test_the_output_is_named(network: EAGRNet) -> None:
    output = network(torch.randn(2, 3, 33, 33))
    assert isinstance(output, Output)
    assert output._fields == ("parsing", "edge")
    assert output.parsing.shape[1] == 5
    assert output.edge.shape[1] == 2


def test_the_parsing_loss_does_not_train_the_edge_head(network: EAGRNet) -> None:
    network(torch.randn(2, 3, 33, 33)).parsing.square().sum().backward()
    assert not any(gradients(network.edge_head))
    assert all(gradients(network.deep_graph))
    assert all(gradients(network.shallow_graph))
    assert all(gradients(network.backbone))


def test_the_edge_loss_trains_edge_head_and_backbone_alone(network: EAGRNet) -> None:
    network(torch.randn(2, 3, 33, 33)).edge.square().sum().backward()
    assert all(gradients(network.edge_head))
    assert any(gradients(network.backbone.stages[0]))
    assert not any(gradients(network.backbone.stages[3]))
    assert not any(gradients(network.deep_graph) + gradients(network.decoder) + gradients(network.pyramid))


def test_the_edge_hint_changes_the_parsing(network: EAGRNet) -> None:
    network.eval()
    image = torch.randn(1, 3, 33, 33)
    before = network(image)
    with torch.no_grad():
        network.edge_head.fuse.bias.add_(torch.tensor([-3.0, 3.0]))
    after = network(image)
    torch.testing.assert_close(after.edge - before.edge, torch.tensor([-3.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 9, 9))
    assert not torch.allclose(after.parsing, before.parsing, atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_heads_leave_the_features_as_they_are(norm: str, training: bool) -> None:
    model = build_model(ModelSettings(backbone="resnet18", stem="torchvision", norm=norm), 5).train(training)  # type: ignore[arg-type]
    features = model.backbone(torch.randn(2, 3, 41, 33))
    kept = [x.clone() for x in features]
    edge = model.edge_head(features[:3])
    pooled = model.pyramid(features.stage4)
    kept_pooled = pooled.clone()
    deep = model.deep_graph(pooled, edge.detach())
    shallow = model.shallow_graph(features.stage1, edge.detach())
    kept_graphs = deep.clone(), shallow.clone()
    parsing = model.decoder(deep, shallow)
    for found, expected in zip((*features, pooled, deep, shallow), (*kept, kept_pooled, *kept_graphs), strict=True):
        assert torch.equal(found, expected)
    (parsing.sum() + edge.sum()).backward()  # raises where something that backward needs was overwritten


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_both_norms_train_alike() -> None:
    found: list[list[Tensor]] = []
    for norm in ("torch", "inplace_abn"):
        torch.manual_seed(4)
        model = build_model(ModelSettings(backbone="resnet18", stem="torchvision", norm=norm), 5)  # type: ignore[arg-type]
        output = model(torch.randn(4, 3, 41, 33))
        (output.parsing.square().mean() + output.edge.square().mean()).backward()
        statistics = [buffer for name, buffer in model.named_buffers() if name.startswith("decoder")]
        found.append([*output, *statistics, model.decoder.classify.weight.grad])  # type: ignore[list-item]
    for plain, in_place in zip(*found, strict=True):
        torch.testing.assert_close(plain, in_place, rtol=1e-3, atol=1e-4)


def slow_graph(module: EdgeAwareGraph, x: np.ndarray, edge_logits: np.ndarray) -> np.ndarray:
    """One image (C x h x w) through the published steps, pixel by pixel."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in module.named_parameters()}
    channels, h, w = x.shape
    pixels = [(i, j) for i in range(h) for j in range(w)]

    state, projection = {}, {}
    for i, j in pixels:
        state[i, j] = weights["state.weight"][:, :, 0, 0] @ x[:, i, j] + weights["state.bias"]
        projection[i, j] = weights["projection.weight"][:, :, 0, 0] @ x[:, i, j] + weights["projection.bias"]

    def edge(i: int, j: int) -> float:
        _, height, width = edge_logits.shape
        logits = edge_logits[:, i * height // h, j * width // w]  # nearest neighbour
        return float(np.exp(logits[1]) / np.exp(logits).sum())

    anchors = []
    for row in range(1, 5):  # the inner 4 x 4 of 6 x 6 bins
        for column in range(1, 5):
            rows = range(row * h // 6, -(-(row + 1) * h // 6))
            columns = range(column * w // 6, -(-(column + 1) * w // 6))
            anchors.append(np.mean([projection[i, j] * edge(i, j) for i in rows for j in columns], axis=0))

    shares = {}
    for pixel in pixels:
        logits = np.array([anchor @ projection[pixel] for anchor in anchors])
        shares[pixel] = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    vertices = np.stack([sum(state[p] * shares[p][v] for p in pixels) for v in range(16)], axis=1)  # S x 16
    across = weights["reasoning.across_vertices.weight"][:, :, 0]
    mixed = vertices @ across.T + weights["reasoning.across_vertices.bias"] - vertices
    reasoned = np.maximum(weights["reasoning.across_states.weight"][:, :, 0] @ mixed, 0)

    y = np.empty((channels, h, w))
    for i, j in pixels:
        expanded = weights["expand.weight"][:, :, 0, 0] @ (reasoned @ shares[i, j])
        mean, var = (buffer.double().numpy() for buffer in (module.norm.running_mean, module.norm.running_var))
        z = (expanded - mean) / np.sqrt(var + 1e-5) * (abs(weights["norm.weight"]) + 1e-5) + weights["norm.bias"]
        y[:, i, j] = x[:, i, j] + np.where(z > 0, z, 0.01 * z)
    return y


@pytest.mark.parametrize(("size", "edge_size"), [((9, 11), (18, 22)), ((12, 7), (12, 7)), ((8, 8), (15, 16))], ids=str)
def test_the_graph_module_takes_the_published_steps(size: tuple[int, int], edge_size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    norm = ActivatedBatchNorm(6).eval()
    nn.init.uniform_(norm.weight, -1, 1)
    nn.init.uniform_(norm.running_mean, -1, 1)  # type: ignore[arg-type]
    module = EdgeAwareGraph(channels=6, states=4, grid=4, norm=norm).eval()
    x, edge_logits = torch.randn(2, 6, *size), torch.randn(2, 2, *edge_size)
    with torch.inference_mode():
        found = module(x, edge_logits).numpy()
    for one, logits, y in zip(x.double().numpy(), edge_logits.double().numpy(), found, strict=True):
        np.testing.assert_allclose(y, slow_graph(module, one, logits), rtol=1e-4, atol=1e-4)


def test_reasoning_without_weights_gives_nothing_back() -> None:
    reasoning = GraphReasoning(vertices=16, states=4)
    with torch.no_grad():
        reasoning.across_vertices.weight.copy_(torch.eye(16).unsqueeze(2))  # h = V, so h - V = 0
        reasoning.across_vertices.bias.zero_()
    assert not reasoning(torch.randn(2, 4, 16)).any()


@pytest.mark.parametrize("size", [(60, 60), (29, 21), (5, 4), (1, 7)])
@pytest.mark.parametrize("grid", [1, 2, 3, 6])
def test_pooling_by_a_product_is_pooling(size: tuple[int, int], grid: int) -> None:
    """With its gradient, and where cells overlap or are larger than the map."""
    x = torch.randn(2, 3, *size, requires_grad=True)
    way = torch.randn(2, 3, grid, grid)
    expected, found = F.adaptive_avg_pool2d(x, grid), pool_by_product(x, grid)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        *(torch.autograd.grad(one, x, way)[0] for one in (found, expected)), rtol=1e-5, atol=1e-6
    )
