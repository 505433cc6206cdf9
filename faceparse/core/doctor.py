"""Checks of this machine for `faceparse doctor`: each thing is tried out, not looked up."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch

from faceparse.core.errors import FaceparseError, first_line
from faceparse.core.files.writing import make_folder
from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem, norm_layer
from faceparse.core.model.build import build_model
from faceparse.core.settings import ModelSettings, load_settings

PACKAGES = ("torch", "torchvision", "opencv-python", "mlflow", "onnx", "onnxruntime", "onnxscript")
OPTIONAL = ("inplace-abn", "optuna", "av")


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    subject: str
    state: Literal["ok", "note", "bad"]
    """`note`: it works, with a limit. `bad`: a command will fail."""
    text: str


def diagnose() -> list[Finding]:
    """Check packages, GPUs, the fused norm layer, the MLflow store and the run folder."""
    return [_versions(), _gpus(), _inplace_abn(), _attempt("mlflow store", _tracking), _attempt("run folder", _runs)]


def _versions() -> Finding:
    found = {name: _version(name) for name in PACKAGES + OPTIONAL}
    missing = [name for name in PACKAGES if found[name] is None]
    text = f"Python {platform.python_version()}, " + ", ".join(
        f"{name} {number}" for name, number in found.items() if number
    )
    return Finding(
        "packages", "bad" if missing else "ok", text + (f"; missing: {', '.join(missing)}" if missing else "")
    )


def _gpus() -> Finding:
    if not torch.cuda.is_available() and torch.backends.mps.is_available():
        return _compared(torch.device("mps"))
    if not torch.cuda.is_available():
        return Finding(
            "GPU", "note", f"none that torch {torch.__version__} can use; training runs on {os.cpu_count()} CPU cores"
        )
    names = [f"{i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return Finding("GPU", "ok", ", ".join(names))


def _compared(device: torch.device) -> Finding:
    """Compare a small network on `device` with the CPU."""
    model = build_model(ModelSettings(backbone="resnet18", norm="torch"), 2).eval()
    image = torch.randn(1, 3, 72, 56)
    try:
        with torch.inference_mode():
            expected = model.parse(image)
            found = model.to(device).parse(image.to(device)).cpu()
    except RuntimeError as error:
        return Finding("GPU", "bad", f"{device.type} cannot run a network ({first_line(error)}); use --device cpu")
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference < 1e-3:  # nan, too
        return Finding("GPU", "bad", f"{device.type} is {difference:.1e} off the CPU; use --device cpu")
    return Finding(
        "GPU", "ok", f"{device.type}, which agrees with the CPU to {difference:.1e}; one process trains on it"
    )


def _inplace_abn() -> Finding:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if problem := inplace_abn_problem(device):
        fix = "where a CUDA toolkit is, 'make inplace-abn' builds it; the plain norm gives the same numbers"
        return Finding("inplace-abn", "note", f"{problem}; {fix}")
    x = torch.randn(2, 3, 4, 4, device=device)
    ours, theirs = ActivatedBatchNorm(3).to(device), norm_layer("inplace_abn", device)(3).to(device)
    difference = float((ours(x) - theirs(x.clone())).abs().max().detach())
    state: Literal["ok", "bad"] = "ok" if difference < 1e-5 else "bad"
    return Finding("inplace-abn", state, f"agrees with the plain norm to {difference:.1e} on {device.type}")


def _tracking() -> str:
    from faceparse.core.runs.database import database_file, is_local, tracking_uri
    from faceparse.core.runs.mlflow_store import check_store

    uri = tracking_uri(load_settings().tracking)
    if is_local(uri) and not (file := database_file(uri)).exists():  # do not open it: that would create it
        _existing(file)
        return f"{uri}, which the first run makes"
    check_store(uri)
    return uri


def _existing(path: Path) -> Path:
    """Return the nearest existing folder at or above `path`.

    Raises:
        OutputError: it cannot be written.
    """
    folder = next(parent for parent in (path, *path.resolve().parents) if parent.is_dir())
    make_folder(folder)
    return folder


def _runs() -> str:
    path = load_settings().train.runs_dir
    folder = _existing(path)
    return f"{path}, {shutil.disk_usage(folder).free / 1e9:.0f} GB free"


def _attempt(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(subject, "ok", look())
    except FaceparseError as error:
        return Finding(subject, "bad", str(error))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
