import importlib.util
import sys

import pytest
import torch
from torch import Tensor, nn

from faceparse.core.errors import SettingsError
from faceparse.core.model import abn
from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem, norm_layer

CPU = torch.device("cpu")
GPU = torch.device("cuda")

needs_inplace_abn = pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))


def spoil(norm: nn.Module) -> nn.Module:
    """Weights and statistics far from their initial 1 and 0, half of the gammas negative."""
    torch.manual_seed(3)
    state = norm.state_dict()
    channels = len(state["weight"])
    state["weight"] = torch.linspace(-1.5, 1.5, channels)
    state["bias"] = torch.randn(channels)
    state["running_mean"] = torch.randn(channels)
    state["running_var"] = torch.rand(channels) + 0.5
    norm.load_state_dict(state)
    return norm


def slow(x: Tensor, norm: nn.Module, mean: Tensor, var: Tensor) -> Tensor:
    """The formula, channel by channel."""
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    channels = []
    for c in range(x.shape[1]):
        y = (x[:, c] - mean[c]) / torch.sqrt(var[c] + 1e-5) * (abs(weight[c]) + 1e-5) + bias[c]
        channels.append(torch.where(y > 0, y, 0.01 * y))
    return torch.stack(channels, dim=1)


def test_eval_is_the_formula_on_the_running_statistics() -> None:
    norm = spoil(ActivatedBatchNorm(8)).eval()
    x = torch.randn(2, 8, 5, 7)
    expected = slow(x, norm, norm.get_buffer("running_mean"), norm.get_buffer("running_var"))
    torch.testing.assert_close(norm(x.clone()), expected, rtol=1e-5, atol=1e-5)
    assert int(norm.get_buffer("num_batches_tracked")) == 0


def test_train_is_the_formula_on_the_batch_statistics_and_moves_the_running_ones() -> None:
    norm = spoil(ActivatedBatchNorm(8)).train()
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    x = torch.randn(3, 8, 5, 7) * 2 + 1
    values = x.transpose(0, 1).flatten(1)
    mean, var = values.mean(dim=1), values.var(dim=1, unbiased=False)
    torch.testing.assert_close(norm(x.clone()), slow(x, norm, mean, var), rtol=1e-5, atol=1e-5)
    expected_mean = 0.9 * before["running_mean"] + 0.1 * mean
    expected_var = 0.9 * before["running_var"] + 0.1 * values.var(dim=1, unbiased=True)
    torch.testing.assert_close(norm.get_buffer("running_mean"), expected_mean)
    torch.testing.assert_close(norm.get_buffer("running_var"), expected_var)
    assert int(norm.get_buffer("num_batches_tracked")) == 1


def test_the_sign_of_gamma_does_not_matter() -> None:
    norm = spoil(ActivatedBatchNorm(8)).eval()
    x = torch.randn(2, 8, 5, 7)
    expected = norm(x)
    with torch.no_grad():
        norm.get_parameter("weight").neg_()
    torch.testing.assert_close(norm(x), expected, rtol=0, atol=0)
    plain = nn.BatchNorm2d(8).eval()
    plain.load_state_dict(norm.state_dict())
    assert not torch.allclose(nn.functional.leaky_relu(plain(x), 0.01), expected, atol=0.1)


def test_gradients_are_those_of_the_formula() -> None:
    norm = spoil(ActivatedBatchNorm(4)).double().train()
    x = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: norm(x * 1.0), (x,))
    twin = spoil(ActivatedBatchNorm(4)).double().train()
    values = x.transpose(0, 1).flatten(1)
    mean, var = values.mean(dim=1), values.var(dim=1, unbiased=False)
    head = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    (norm(x * 1.0) * head).sum().backward()
    (slow(x, twin, mean, var) * head).sum().backward()
    for name in ("weight", "bias"):
        torch.testing.assert_close(norm.get_parameter(name).grad, twin.get_parameter(name).grad)


@needs_inplace_abn
@pytest.mark.parametrize("training", [True, False])
def test_the_twin_equals_inplace_abn_forward_backward_and_in_its_statistics(training: bool) -> None:
    from inplace_abn import InPlaceABN

    ours = spoil(ActivatedBatchNorm(8)).train(training)
    theirs = spoil(InPlaceABN(8)).train(training)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(3, 8, 6, 5) * 2 + 1
    head = torch.randn(3, 8, 6, 5)
    results = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf * 1.0)
        (y * head).sum().backward()
        grads = [leaf.grad, norm.get_parameter("weight").grad, norm.get_parameter("bias").grad]
        results.append([y.detach(), *grads, *norm.buffers()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@needs_inplace_abn
def test_norms_that_were_asked_for_do_not_synchronise_by_themselves() -> None:
    layer = norm_layer("inplace_abn", CPU)(4)
    assert type(layer).__name__ == "InPlaceABNSync"
    assert layer.group is None


def test_auto_takes_the_twin_on_a_cpu() -> None:
    assert isinstance(norm_layer("auto", CPU)(4), ActivatedBatchNorm)
    assert isinstance(norm_layer("torch", GPU)(4), ActivatedBatchNorm)


def test_auto_takes_the_twin_on_a_gpu_without_inplace_abn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn, "inplace_abn_problem", lambda *_: "inplace-abn is not installed")
    assert isinstance(norm_layer("auto", GPU)(4), ActivatedBatchNorm)


@needs_inplace_abn
def test_auto_takes_inplace_abn_on_a_gpu_that_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn, "inplace_abn_problem", lambda *_: None)
    assert type(norm_layer("auto", GPU)(4)).__name__ == "InPlaceABNSync"


def test_a_norm_that_is_not_installed_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError) as caught:
        norm_layer("inplace_abn", CPU)
    expected = "model.norm = 'inplace_abn': inplace-abn is not installed; use model.norm = 'auto' or install the extra"
    assert str(caught.value) == f"{expected} 'inplace-abn'"


def test_an_extension_built_for_another_torch_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "inplace_abn":
                raise ImportError("undefined symbol: _ZN3c10")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delitem(sys.modules, "inplace_abn", raising=False)
    monkeypatch.setattr("sys.meta_path", [Broken(), *sys.meta_path])
    problem = inplace_abn_problem()
    assert problem is not None
    assert "undefined symbol: _ZN3c10" in problem
    assert "build it again with the torch that is installed" in problem


@needs_inplace_abn
def test_an_extension_that_does_not_run_on_a_device_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    import inplace_abn

    def fail(*_: object) -> None:
        raise RuntimeError("no kernel image is available\nand a page of advice")

    monkeypatch.setattr(inplace_abn.InPlaceABN, "forward", fail)
    expected = "inplace-abn does not run on cpu (no kernel image is available); build it again on this machine"
    assert inplace_abn_problem("cpu") == expected
