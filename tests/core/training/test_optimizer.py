"""Which weights the optimizer treats how."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from faceparse.core.model.build import build_model
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.settings import ModelSettings, OptimSettings
from faceparse.core.training import optimizer
from faceparse.core.training.optimizer import make_optimizer
from faceparse.core.training.schedule import make_schedule


@pytest.fixture(scope="module")
def model() -> ParsingModel:
    return build_model(ModelSettings(backbone="mobilenet_v2", graph=True), 5)


def group_of(model: ParsingModel, settings: OptimSettings) -> dict[str, dict[str, float]]:
    """Name of each weight -> learning rate and decay."""
    optimizer = make_optimizer(model, settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], group) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(name for name, _ in found) == sorted(names.values())  # each once
    return {name: {key: group[key] for key in ("lr", "weight_decay")} for name, group in found}


def norms_and_biases(model: ParsingModel) -> set[str]:
    """Found by what the modules are."""
    return {
        f"{name}.{leaf}"
        for name, module in model.named_modules()
        for leaf, _ in module.named_parameters(recurse=False)
        if leaf == "bias" or isinstance(module, nn.BatchNorm2d)
    }


def test_the_recipe_is_sgd_over_all_weights_in_one_group(model: ParsingModel) -> None:
    optimizer = make_optimizer(model, OptimSettings())
    assert isinstance(optimizer, SGD)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]  # as old checkpoints count them
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (1e-3, 0.9, 5e-4)


def test_adamw_decays_all_but_norms_and_biases(model: ParsingModel) -> None:
    settings = OptimSettings(name="adamw", lr=2e-3, momentum=0.8, weight_decay=0.05)
    optimizer = make_optimizer(model, settings)
    assert isinstance(optimizer, AdamW)
    assert optimizer.defaults["betas"] == (0.8, 0.999)
    found = group_of(model, settings)
    assert {name for name, group in found.items() if group["weight_decay"] == 0} == norms_and_biases(model)
    assert {group["weight_decay"] for group in found.values()} == {0.0, 0.05}
    assert {group["lr"] for group in found.values()} == {2e-3}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_backbone_can_have_a_rate_of_its_own(model: ParsingModel, name: str) -> None:
    settings = OptimSettings(name=name, lr=1e-2, backbone_lr=1e-3)  # type: ignore[arg-type]
    for weight, group in group_of(model, settings).items():
        assert group["lr"] == (1e-3 if weight.startswith("backbone.") else 1e-2)


def test_the_first_group_is_of_the_heads_and_all_follow_the_schedule(model: ParsingModel) -> None:
    settings = OptimSettings(name="adamw", lr=1e-2, backbone_lr=1e-3, schedule="cosine")
    optimizer = make_optimizer(model, settings)
    schedule = make_schedule(optimizer, settings, 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([5e-3, 5e-3, 5e-4, 5e-4])
    backbone = {id(p) for p in model.backbone.parameters()}
    assert not any(id(p) in backbone for group in optimizer.param_groups[:2] for p in group["params"])


def test_a_step_of_adamw_is_the_formula() -> None:
    """Two weights, one with decay; after the first step both moments are the gradient's own."""

    class Tiny(ParsingModel):
        def __init__(self) -> None:
            super().__init__(nn.Identity())
            self.classify = nn.Linear(2, 1)

        def forward(self, image: torch.Tensor) -> None:  # type: ignore[override]
            raise NotImplementedError

    model = Tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, OptimSettings(name="adamw", lr=0.1, weight_decay=0.2))
    for p in model.parameters():
        p.grad = torch.full_like(p, -3.0)
    optimizer.step()
    found = dict(model.named_parameters())
    torch.testing.assert_close(found["classify.weight"], before["classify.weight"] * (1 - 0.1 * 0.2) + 0.1)
    torch.testing.assert_close(found["classify.bias"], before["classify.bias"] + 0.1)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_updates_are_not_fused_on_mps(model: ParsingModel, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its fused kernels may not skip a bad update; and the trainer looks at the loss where nothing is fused."""
    settings = OptimSettings(name=name)  # type: ignore[arg-type]
    assert make_optimizer(model, settings).defaults["fused"]
    monkeypatch.setattr(optimizer, "_device", lambda _: torch.device("mps"))
    assert not make_optimizer(model, settings).defaults["fused"]
