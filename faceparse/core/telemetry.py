"""Nothing leaves the machine: libraries that report their use to their makers are told not to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime: it writes ~/.cache/Microsoft and sends from its import on
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",  # without it the hub is told the versions of Python and PyTorch
    "RAY_USAGE_STATS_ENABLED": "0",  # of clusters that this process makes
    "NNCF_CI": "1",  # the only switch that NNCF has
}
"""Environment variable -> the value that switches a library's reports off."""

_OPENVINO = "openvino_telemetry"


def switch_off() -> None:
    """Switch off the reports of all libraries but OpenVINO, here and in processes that this one starts.

    Libraries read the variables on their import. A variable that the user has set keeps its value.
    """
    if "ORT_DISABLE_TELEMETRY" not in os.environ and (loaded := sys.modules.get("onnxruntime")):
        loaded.disable_telemetry_events()  # it was imported before: the variable comes too late
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


@contextmanager
def openvino_silent() -> Iterator[None]:
    """Import OpenVINO in this block: it has no variable, and it reports its import if it can import its reporter."""
    before = sys.modules.get(_OPENVINO)
    sys.modules[_OPENVINO] = None  # type: ignore[assignment]  # Python's way to forbid an import
    try:
        yield
    finally:
        if before is None:
            del sys.modules[_OPENVINO]
        else:
            sys.modules[_OPENVINO] = before
