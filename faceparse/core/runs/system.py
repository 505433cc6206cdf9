"""Load of the machine during training, measured by MLflow's own monitors under MLflow's own names."""

import logging
import threading
from contextlib import suppress
from typing import Self

import psutil
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

INTERVAL = 5.0
"""Seconds between two samples. A sample takes well under a millisecond, and NVML some milliseconds for each GPU."""
PREFIX = "system/"
"""Prefix of these metrics; MLflow's UI charts them on a separate tab."""


class SystemMonitor:
    """Samples CPU, memory and NVIDIA GPUs, where there are any, in a thread. Runs while it is entered as a context.

    Nothing that goes wrong here ends a run: a value that cannot be measured is left out.
    """

    def __init__(self) -> None:
        logging.getLogger(GPUMonitor.__module__).setLevel(logging.ERROR)  # else it warns with each sample
        self._monitors: list[BaseMetricsMonitor] = [CPUMonitor()]
        with suppress(ImportError, RuntimeError):  # no NVML, or no GPU
            self._monitors.append(GPUMonitor())
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system-metrics", daemon=True)
        psutil.cpu_percent()  # each thread's first call gives 0: it measures since the last call

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def take(self) -> dict[str, float]:
        """Means since the last call: `system/cpu_utilization_percentage`, `system/gpu_0_memory_usage_megabytes`, ..."""
        self._sample()
        with self._lock:
            means = [monitor.aggregate_metrics() for monitor in self._monitors]
            for monitor in self._monitors:
                monitor.clear_metrics()
        return {f"{PREFIX}{name}": float(value) for one in means for name, value in one.items()}

    def _watch(self) -> None:
        psutil.cpu_percent()
        while not self._ended.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        with self._lock:
            for monitor in self._monitors:
                try:
                    monitor.collect_metrics()
                except Exception:  # a driver that is being reloaded, a container without /proc
                    logging.getLogger(__name__).debug("no sample", exc_info=True)
