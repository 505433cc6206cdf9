import importlib.metadata
from pathlib import Path

import pytest
import torch

from faceparse.core import doctor as diagnosis
from faceparse.core.doctor import Finding, diagnose
from faceparse.core.model.abn import ActivatedBatchNorm, inplace_abn_problem


def find(subject: str) -> Finding:
    (found,) = [finding for finding in diagnose() if finding.subject == subject]
    return found


def test_a_working_machine_has_nothing_bad(store: str, tmp_path: Path) -> None:
    findings = diagnose()
    assert [finding.subject for finding in findings] == ["packages", "GPU", "inplace-abn", "mlflow store", "run folder"]
    assert [finding for finding in findings if finding.state == "bad"] == []
    assert find("mlflow store").text.split(",")[0] == store
    assert list(tmp_path.iterdir()) == []  # looking changes nothing


def test_versions_are_those_that_are_installed() -> None:
    text = find("packages").text
    for name in ("torch", "mlflow", "onnxruntime", "opencv-python", "optuna"):
        assert f"{name} {importlib.metadata.version(name)}" in text


def test_a_missing_package_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "PACKAGES", ("torch", "no-such-package"))
    finding = find("packages")
    assert finding.state == "bad"
    assert finding.text.endswith("; missing: no-such-package")


def test_a_machine_without_gpu_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = find("GPU")
    assert finding.state == "note"
    assert "CPU cores" in finding.text


def test_a_gpu_of_apples_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here it is only said to be there; on the CPU, the comparison is with itself, or with something else."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    finding = find("GPU")
    assert finding.state == "bad"
    assert finding.text.startswith("mps cannot run a network (")
    assert diagnosis._compared(torch.device("cpu")).state == "ok"
    monkeypatch.setattr(diagnosis.torch.Tensor, "cpu", lambda tensor: tensor * 1.01)
    assert diagnosis._compared(torch.device("cpu")).state == "bad"


def test_inplace_abn_that_is_missing_is_noted_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "inplace_abn_problem", lambda *_: "inplace-abn is not installed")
    finding = find("inplace-abn")
    assert finding.state == "note"
    assert finding.text.startswith("inplace-abn is not installed; ")
    assert "'make inplace-abn' builds it" in finding.text


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_inplace_abn_is_compared_with_the_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find("inplace-abn").state == "ok"

    class Wrong(ActivatedBatchNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 0.1

    monkeypatch.setattr(diagnosis, "norm_layer", lambda kind, device: Wrong)
    finding = find("inplace-abn")
    assert finding.state == "bad"
    assert "1.0e-01" in finding.text


def test_a_store_that_cannot_be_opened_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRACKING__URI", "sqlite:////proc/none/mlflow.db")
    finding = find("mlflow store")
    assert finding.state == "bad"
    assert finding.text.startswith("cannot write /proc")


def test_looking_makes_no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACEPARSE_TRACKING__URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert find("mlflow store").text == f"sqlite:///{tmp_path}/mlflow.db, which the first run makes"
    assert list(tmp_path.iterdir()) == []


def test_the_run_folder_is_tried_where_it_would_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__RUNS_DIR", str(tmp_path / "a" / "b"))
    assert find("run folder").state == "ok"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("FACEPARSE_TRAIN__RUNS_DIR", "/proc/none")
    finding = find("run folder")
    assert finding.state == "bad"
    assert finding.text.startswith("cannot write /proc: ")


def test_settings_that_are_wrong_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEPARSE_TRAIN__EPOCHS", "many")
    finding = find("run folder")
    assert finding.state == "bad"
    assert finding.text.startswith("environment: train.epochs = 'many': ")
