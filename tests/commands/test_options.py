import pytest

from faceparse.commands.options import device_name, parse_size
from faceparse.core.errors import SettingsError


@pytest.mark.parametrize(
    ("gpus", "device", "expected"),
    [(None, None, None), (None, "cpu", "cpu"), ("1", None, "cuda:1"), (" 0 ", None, "cuda:0")],
)
def test_gpus_and_device_become_one_name(gpus: str | None, device: str | None, expected: str | None) -> None:
    assert device_name(gpus, device) == expected


def test_training_takes_several_gpus() -> None:
    assert device_name("0, 3", None, several=True) == "cuda:0,3"


@pytest.mark.parametrize(
    ("gpus", "kind", "expected"),
    [
        ("0,1", SettingsError, "--gpus 0,1: this command uses one GPU; write --gpus 0"),
        ("-1", SettingsError, "--gpus '-1': write GPU numbers, such as --gpus 0,1"),
        ("", SettingsError, "--gpus '': write GPU numbers, such as --gpus 0,1"),
        ("0,", SettingsError, "--gpus '0,': write GPU numbers, such as --gpus 0,1"),
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
