import sys
import threading
import types

import psutil
import pytest

from faceparse.core.runs import system
from faceparse.core.runs.system import SystemMonitor
from tests.core.runs.conftest import until

CPU = {"cpu_utilization_percentage", "system_memory_usage_megabytes", "system_memory_usage_percentage"}


def named(names: set[str]) -> set[str]:
    return {f"system/{name}" for name in names}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without NVIDIA's library, wherever the test runs."""
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)


class Clock:
    """A CPU that is busier each time it is asked, as psutil tells it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: dict[int, int] = {}
        monkeypatch.setattr(psutil, "cpu_percent", self)

    def __call__(self) -> float:
        """A thread's first call has nothing to compare with, and gives 0."""
        thread = threading.get_ident()
        self.asked[thread] = self.asked.get(thread, -1) + 1
        return 10.0 * self.asked[thread]


def test_there_is_a_mean_for_each_epoch_under_mlflows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "INTERVAL", 1000.0)
    Clock(monkeypatch)
    with SystemMonitor() as monitor:
        first, second = monitor.take(), monitor.take()
        assert threading.active_count() > 1
    assert set(first) == named(CPU)
    assert [one["system/cpu_utilization_percentage"] for one in (first, second)] == [10.0, 20.0]
    memory = psutil.virtual_memory()
    assert first["system/system_memory_usage_megabytes"] == pytest.approx(memory.used / 1e6, rel=0.5)


def test_samples_between_are_part_of_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "INTERVAL", 0.001)
    clock = Clock(monkeypatch)
    with SystemMonitor() as monitor:
        until(lambda: len(clock.asked) == 2 and min(list(clock.asked.values())[1:]) >= 3)
        monitor._ended.set()
        monitor._thread.join()
        samples = list(clock.asked.values())[1]
        expected = (sum(10.0 * n for n in range(1, samples + 1)) + 10.0) / (samples + 1)
        assert monitor.take()["system/cpu_utilization_percentage"] == pytest.approx(expected, abs=0.051)


def test_the_thread_ends_with_the_run() -> None:
    with SystemMonitor() as monitor:
        thread = monitor._thread
        assert thread.is_alive()
    assert not thread.is_alive()


def test_gpus_are_measured_where_nvidias_library_finds_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU of two refuses to tell its utilisation, as parts of one do."""

    class NVMLError(Exception):
        pass

    def utilisation(handle: int) -> types.SimpleNamespace:
        if handle:
            raise NVMLError("not supported")
        return types.SimpleNamespace(gpu=75)

    library = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=2e9, total=8e9),
        nvmlDeviceGetUtilizationRates=utilisation,
        nvmlDeviceGetPowerUsage=lambda handle: 150_000,
        nvmlDeviceGetEnforcedPowerLimit=lambda handle: 300_000,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)  # type: ignore[arg-type]
    monkeypatch.setattr("mlflow.system_metrics.metrics.gpu_monitor.pynvml", library, raising=False)
    with SystemMonitor() as monitor:
        found = monitor.take()
    both = {f"gpu_{gpu}_{kind}" for gpu in (0, 1) for kind in ("memory_usage_percentage", "memory_usage_megabytes")}
    both |= {f"gpu_{gpu}_power_usage_{unit}" for gpu in (0, 1) for unit in ("watts", "percentage")}
    assert set(found) == named(CPU | both | {"gpu_0_utilization_percentage"})
    assert found["system/gpu_0_utilization_percentage"] == 75.0
    assert found["system/gpu_1_memory_usage_percentage"] == 25.0


def test_what_cannot_be_measured_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("no /proc here")

    monkeypatch.setattr(psutil, "virtual_memory", fail)
    with SystemMonitor() as monitor:
        assert set(monitor.take()) == {"system/cpu_utilization_percentage"}
