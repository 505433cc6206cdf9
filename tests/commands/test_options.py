import pytest
import torch

from faceparse.commands.options import device_name, parse_size
from faceparse.core.errors import DeviceError, SettingsError


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [(None, None, None), (None, "cpu", "cpu"), ("1", None, "cuda:1"), (" 0 ", None, "cuda:0")],
)
def test_gpus_and_device_become_one_name(gpus: str | None, device: str | None, expected: str | None) -> None:
    assert device_name(gpus, device) == expected


@pytest.mark.parametrize(
    ("gpus", "kind", "expected"),
    [
        ("0,1", SettingsError, "--gpus 0,1: this version uses one GPU; write --gpus 0"),
        ("0,2", DeviceError, "GPU 2 was asked for, but GPUs here: 0, 1; use --device cpu, or see 'faceparse doctor'"),
        ("-1", SettingsError, "--gpus '-1': write GPU numbers, such as --gpus 0"),
        ("", SettingsError, "--gpus '': write GPU numbers, such as --gpus 0"),
        ("0,", SettingsError, "--gpus '0,': write GPU numbers, such as --gpus 0"),
    ],
)
def test_gpus_that_cannot_be_used_are_refused(gpus: str, kind: type[Exception], expected: str) -> None:
    with pytest.raises(kind) as caught:
        device_name(gpus, None)
    assert str(caught.value) == expected


def test_sizes_are_height_and_width() -> None:
    assert parse_size(None) is None
    assert parse_size("473,385") == (473, 385)
    assert parse_size(" 64 , 96 ") == (64, 96)
    for bad in ("64", "64,96,3", "a,b", "31,64", "64.5,64"):
        with pytest.raises(SettingsError, match=r"^option: data\.input_size = "):
            parse_size(bad)
