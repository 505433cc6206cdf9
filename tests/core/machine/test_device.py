"""Which device a name means, on machines with and without GPUs."""

import platform
from pathlib import Path

import pytest
import torch

from faceparse.core.errors import DeviceError, ResourceError
from faceparse.core.machine import device as device_module
from faceparse.core.machine.device import (
    copy_to_device,
    float64_device,
    full_memory_named,
    hardware_name,
    resolve_device,
)


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


def test_full_memory_of_mps_is_named() -> None:
    with pytest.raises(ResourceError, match="^the memory of mps is full"), full_memory_named(torch.device("mps")):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB, max allowed: 18.13 GB)")


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


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with Apple's GPU."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.parametrize(
    ("gpus", "name", "expected"),
    [(0, "auto", "cpu"), (0, "mps", "mps"), (0, "cpu", "cpu"), (1, "auto", "cuda:0"), (1, "mps", "mps")],
    indirect=["gpus"],
)
def test_mps_is_taken_where_it_is_named(gpus: int, mps: None, name: str, expected: str) -> None:
    assert str(resolve_device(name)) == expected


def test_mps_takes_one_process(mps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert str(resolve_device("auto", 1)) == "cpu"
    with pytest.raises(DeviceError, match="^device 'mps': it takes one training process; leave --processes"):
        resolve_device("mps")


def test_mps_where_there_is_none_is_refused() -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_device("mps")
    expected = "device 'mps': this torch finds no GPU of Apple's here; use --device cpu, or see 'faceparse doctor'"
    assert str(caught.value) == expected


def test_copies_to_mps_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda _, device, **options: asked.append((device.type, options)))
    for name in ("cuda", "mps"):
        copy_to_device(torch.zeros(2), torch.device(name))
    assert asked == [("cuda", {"non_blocking": True}), ("mps", {"non_blocking": False})]


def test_float64_is_computed_where_it_exists() -> None:
    assert [float64_device(torch.device(name)).type for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "cpu"]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "", "mps:0"])
def test_other_names_are_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        resolve_device(name)
    assert str(caught.value) == f"device {name!r}: not one of auto, cpu, cuda, cuda:N, mps"


def test_processors_and_gpus_have_their_makers_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert hardware_name(torch.device("cuda", 1)) == "GPU 1"
    known = tmp_path / "cpuinfo"
    monkeypatch.setattr(device_module, "_CPU_INFO", known)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert hardware_name(torch.device("cpu")) == "arm64"
    known.write_text("processor\t: 0\nmodel name\t: A (R) CPU @ 2 GHz \n\nmodel name\t: another\n")
    assert hardware_name(torch.device("cpu")) == "A (R) CPU @ 2 GHz"
