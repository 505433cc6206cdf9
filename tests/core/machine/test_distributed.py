import pytest
import torch
import torch.distributed as dist

from faceparse.core.errors import LostProcessError, SettingsError
from faceparse.core.machine.distributed import ALONE, join, local_rank


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE = 'two'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE without RANK"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK = 2, but WORLD_SIZE = 2"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE without MASTER_ADDR"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, "WORLD_SIZE without MASTER_PORT"),
        ({"WORLD_SIZE": "9" * 30, "RANK": "0"}, "WORLD_SIZE = '999"),
    ],
)
def test_half_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^environment: {reason}"), join(torch.device("cpu"), 10):
        pass


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert local_rank() == 0
    with join(torch.device("cpu"), 10) as world:
        assert world == ALONE


@pytest.mark.parametrize(
    ("device", "shared", "backend"), [("cpu", False, "gloo"), ("cuda:0", False, "nccl"), ("cuda:0", True, "gloo")]
)
def test_tensors_go_by_the_backend_that_takes_the_devices(
    monkeypatch: pytest.MonkeyPatch, device: str, shared: bool, backend: str
) -> None:
    """NCCL refuses two processes on one GPU."""
    began = []

    def begin(name: str, **_: object) -> None:
        began.append(name)
        raise dist.DistNetworkError("far enough")

    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", begin)
    with pytest.raises(LostProcessError), join(torch.device(device), 10, gpu_is_shared=shared):
        pass
    assert began == [backend]
