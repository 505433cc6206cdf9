from collections.abc import Callable

import pytest
import torch
from torch import nn

from faceparse.core.errors import SettingsError
from faceparse.core.model.build import build_model
from faceparse.core.settings import ModelSettings, load_settings
from faceparse.core.training import speed
from faceparse.core.training.speed import FloatConv2d, Speed, keep_slow_in_float, resolve_speed

CPU, GPU, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with a GPU that has bf16, or imitates it, or has not even that."""

    def has(native: bool, imitated: bool = True) -> None:
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native or (imitated and including_emulation),
        )

    return has


def resolve(device: torch.device, *, processes: int = 1, **options: object) -> Speed:
    dotted = {key.replace("__", "."): value for key, value in options.items()}
    return resolve_speed(load_settings(options=dotted), device, processes)


def test_a_cpu_computes_in_float32_unless_told_otherwise() -> None:
    assert resolve(CPU) == Speed(torch.float32, "auto", channels_last=True, compile=False)
    assert resolve(CPU, speed__precision="bf16").dtype == torch.bfloat16


@pytest.mark.parametrize(("native", "dtype", "norm"), [(True, torch.bfloat16, "torch"), (False, torch.float32, "auto")])
def test_a_gpu_that_has_bf16_uses_it(gpu: Callable[..., None], native: bool, dtype: torch.dtype, norm: str) -> None:
    gpu(native)
    found = resolve(GPU)
    assert (found.dtype, found.norm) == (dtype, norm)


def test_the_in_place_norm_keeps_float32(gpu: Callable[..., None]) -> None:
    gpu(True)
    assert resolve(GPU, model__norm="inplace_abn") == Speed(torch.float32, "inplace_abn", True, False)
    assert resolve(GPU, model__norm="inplace_abn", speed__precision="fp16").dtype == torch.float16


def test_what_is_compiled_has_the_plain_norm() -> None:
    assert resolve(CPU, speed__compile=True) == Speed(torch.float32, "torch", True, compile=True)


def test_mps_has_the_plain_settings() -> None:
    assert resolve(torch.device("mps")) == Speed(torch.float32, "torch", channels_last=False, compile=False)


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        (MPS, {"speed__precision": "bf16"}, "speed.precision = 'bf16': not on mps; use fp32, or auto"),
        (MPS, {"speed__precision": "fp16"}, "speed.precision = 'fp16': not on mps; use fp32, or auto"),
        (MPS, {"speed__compile": True}, "speed.compile = true: not on mps; leave it out"),
        (MPS, {"model__norm": "inplace_abn"}, "model.norm = 'inplace_abn': not on mps; use model.norm = 'torch'"),
        (CPU, {"speed__precision": "fp16"}, "speed.precision = 'fp16': needs a GPU; use bf16 or fp32 on a CPU"),
        (GPU, {"speed__precision": "bf16"}, "speed.precision = 'bf16': this GPU has no bf16; use fp16 or fp32"),
        (
            CPU,
            {"speed__precision": "bf16", "model__norm": "inplace_abn"},
            "speed.precision = 'bf16' and model.norm = 'inplace_abn': cannot go together; use model.norm = 'torch'",
        ),
        (
            GPU,
            {"speed__compile": True, "model__norm": "inplace_abn"},
            "speed.compile = true and model.norm = 'inplace_abn': cannot go together; use model.norm = 'torch'",
        ),
        (
            CPU,
            {"processes": 2, "model__norm": "inplace_abn"},
            "model.norm = 'inplace_abn': synchronises over processes on GPUs only; use model.norm = 'torch'",
        ),
    ],
    ids=str,
)
def test_what_cannot_go_together_is_refused(
    gpu: Callable[..., None], device: torch.device, options: dict[str, object], expected: str
) -> None:
    gpu(native=False, imitated=False)
    with pytest.raises(SettingsError) as caught:
        resolve(device, **options)  # type: ignore[arg-type]
    assert str(caught.value) == expected


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed.shutil, "which", lambda name: None)
    with pytest.raises(SettingsError, match=r"speed\.compile = true: on a CPU it needs a C\+\+ compiler \(g\+\+\)"):
        resolve(CPU, speed__compile=True)


def test_it_is_told_in_a_few_words() -> None:
    assert str(resolve(CPU)) == "fp32, channels last"
    assert str(Speed(torch.bfloat16, "torch", channels_last=False, compile=True)) == "bf16, compiled"


def gradients_in_bf16(model: nn.Module) -> torch.Tensor:
    """Of all weights, one after the other."""
    model.zero_grad()
    image = torch.randn(2, 8, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(image).float().square().mean()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_what_is_slow_in_bf16_computes_in_float32_and_what_is_not_does_not() -> None:
    torch.manual_seed(0)
    strided, plain = (nn.Conv2d(8, 8, 3, stride, 1, groups=8, bias=False) for stride in (2, 1))
    model = nn.Sequential(strided, nn.Sequential(plain), nn.Conv2d(8, 8, 3, 2))
    image = torch.randn(1, 8, 12, 12)
    expected = strided(image)
    keep_slow_in_float(model)
    assert [type(module) for module in (model[0], model[1][0], model[2])] == [FloatConv2d, nn.Conv2d, nn.Conv2d]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model[0](image), expected)
        assert model[0](image.bfloat16()).dtype == torch.float32
        assert model[1](image).dtype == torch.bfloat16
    assert model[0].weight is strided.weight  # the optimizer's


def test_a_step_with_it_is_that_of_bf16() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.ReLU(), nn.Conv2d(16, 4, 1))
    before = gradients_in_bf16(model)
    keep_slow_in_float(model)
    torch.testing.assert_close(gradients_in_bf16(model), before, rtol=0.05, atol=0.02 * float(before.abs().max()))


def test_a_networks_state_does_not_change_by_it() -> None:
    model = build_model(ModelSettings(backbone="mobilenet_v2"), 5)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    keep_slow_in_float(model)
    assert sum(isinstance(module, FloatConv2d) for module in model.modules()) == 4  # strides 4, 8, 16 and 32
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
