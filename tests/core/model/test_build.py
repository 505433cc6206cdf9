import json
from math import ceil, prod
from pathlib import Path

import pytest
import torch

from faceparse.core.errors import SettingsError
from faceparse.core.model import abn
from faceparse.core.model.abn import ActivatedBatchNorm
from faceparse.core.model.build import build_model
from faceparse.core.parser.released_names import released_state
from faceparse.core.settings import ModelSettings


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101"])
@pytest.mark.parametrize("stem", ["deep", "torchvision"])
def test_logits_have_a_quarter_of_any_odd_size(backbone: str, stem: str) -> None:
    model = build_model(ModelSettings(backbone=backbone, stem=stem), 5).eval()  # type: ignore[arg-type]
    for height, width in ((33, 47), (52, 41)):
        with torch.inference_mode():
            output = model(torch.randn(2, 3, height, width))
        size = (ceil(height / 4), ceil(width / 4))
        assert output.parsing.shape == (2, 5, *size)
        assert output.edge.shape == (2, 2, *size)
        assert output.parsing.isfinite().all()
        assert output.edge.isfinite().all()


def test_the_papers_network_has_the_released_keys_and_shapes(golden: Path) -> None:
    expected = json.loads((golden / "eagrnet_state_dict_11.json").read_text())
    model = build_model(ModelSettings(), 11)
    assert {key: list(tensor.shape) for key, tensor in released_state(model).items()} == expected
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = sum(prod(shape) for key, shape in expected.items() if not key.endswith(buffers))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert count / 1e6 == pytest.approx(66.72, abs=0.005)


def test_a_new_network_is_in_train_mode_with_the_norm_that_was_asked_for() -> None:
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), 3)
    assert model.training
    norms = [module for name, module in model.named_modules() if name.endswith("norm")]
    assert {type(norm) for norm in norms} == {ActivatedBatchNorm}


def test_the_same_seed_gives_the_same_network() -> None:
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        states.append(build_model(ModelSettings(backbone="resnet18"), 3).state_dict()["backbone.stem.0.conv.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_norm_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abn, "inplace_abn_problem", lambda *_: "inplace-abn is not installed")
    with pytest.raises(SettingsError, match=r"^model\.norm = 'inplace_abn': inplace-abn is not installed; "):
        build_model(ModelSettings(backbone="resnet18", norm="inplace_abn"), 3)
