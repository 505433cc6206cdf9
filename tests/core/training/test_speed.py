from collections.abc import Callable

import pytest
import torch

from faceparse.core.errors import SettingsError
from faceparse.core.settings import load_settings
from faceparse.core.training import speed
from faceparse.core.training.speed import Speed, resolve_speed

CPU, GPU = torch.device("cpu"), torch.device("cuda")


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


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
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
