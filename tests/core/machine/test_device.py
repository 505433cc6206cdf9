"""Which device a name means, on machines with and without GPUs."""

import pytest
import torch

from faceparse.core.errors import DeviceError, ResourceError
from faceparse.core.machine.device import full_memory_named, resolve_device


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    count: int = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    return count


@pytest.mark.parametrize(
    ("gpus", "name", "expected"),
    [
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
        (1, "auto", "cuda:0"),
        (2, "auto", "cuda:0"),
        (2, "cpu", "cpu"),
        (2, "cuda", "cuda:0"),
        (2, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
    ],
    indirect=["gpus"],
)
def test_a_name_means_a_device_that_is_there(gpus: int, name: str, expected: str) -> None:
    assert str(resolve_device(name)) == expected


@pytest.mark.parametrize(
    ("gpus", "name", "local_rank", "expected"),
    [(2, "auto", 1, "cuda:1"), (2, "cuda", 1, "cuda:1"), (4, "cuda:3,1", 0, "cuda:3"), (4, "cuda:3,1", 1, "cuda:1")],
    indirect=["gpus"],
)
def test_each_process_has_a_gpu_of_its_own(gpus: int, name: str, local_rank: int, expected: str) -> None:
    assert str(resolve_device(name, local_rank)) == expected


@pytest.mark.parametrize("gpus", [4], indirect=True)
def test_more_processes_than_named_gpus_are_refused(gpus: int) -> None:
    with pytest.raises(DeviceError, match="names 2 GPUs, but there are more processes on this machine; use cuda"):
        resolve_device("cuda:0,1", 2)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_full_memory_is_named_with_the_settings_to_lower(device: str) -> None:
    with pytest.raises(ResourceError) as caught, full_memory_named(torch.device(device)):
        if device == "cpu":
            torch.empty(2**60)  # more than any machine has
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    message = str(caught.value)
    where = "this machine" if device == "cpu" else device
    assert message.startswith(f"the memory of {where} is full; lower train.batch_size")
    assert "data.input_size" in message
    assert ("speed.precision" in message) == (device != "cpu")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), full_memory_named(torch.device("cpu")):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [
        (0, "cuda", "GPU 0 was asked for, but there is no GPU here"),
        (0, "cuda:3", "GPU 3 was asked for, but there is no GPU here"),
        (1, "cuda:1", "GPU 1 was asked for, but GPUs here: 0"),
        (2, "cuda:2", "GPU 2 was asked for, but GPUs here: 0, 1"),
    ],
    indirect=["gpus"],
)
def test_a_gpu_that_is_not_there_is_refused_in_one_line(gpus: int, name: str, message: str) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"{message}; use --device cpu, or see 'faceparse doctor'"


def test_a_driver_that_counts_gpus_but_cannot_use_them_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(resolve_device("auto")) == "cpu"
    with pytest.raises(DeviceError, match="no GPU here"):
        resolve_device("cuda:0")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "mps"])
def test_other_names_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"device {name!r}: not one of auto, cpu, cuda, cuda:N"
