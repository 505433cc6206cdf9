"""No library reports what a user does: whoever writes an identifier of the machine beside its reports writes none."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from faceparse.core.telemetry import VARIABLES, openvino_silent, switch_off
from faceparse.core.training.run import RunResult
from tests.conftest import TINY

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def run_at(home: Path, *arguments: object, **more: str) -> str:
    """What Python prints with these arguments, in a process for which none of the variables was set."""
    kept = {name: value for name, value in os.environ.items() if name not in {*VARIABLES, "XDG_CACHE_HOME"}}
    environment = kept | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(ROOT)} | more
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=home.parent, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(home: Path) -> list[str]:
    return [path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("first", ["faceparse", "faceparse.core.runtime.onnx_model", "faceparse.core.serving.servable"])
def test_importing_writes_nothing_into_the_home_folder(home: Path, first: str) -> None:
    run_at(home, "-c", f"import {first}, onnxruntime")
    assert written(home) == []


def test_commands_write_no_identifier_into_the_home_folder(
    home: Path, trained: RunResult, bundle: Path, faces: Path
) -> None:
    """Nor do the processes that they start."""
    picture, drawn = ROOT / "docs" / "portraits" / "grace-hopper.jpg", {**TINY, "data.root": str(faces)}
    loaded = f"faceparse.load({str(bundle)!r}, device='cpu').predict({str(picture)!r})"
    trains = f"faceparse.train({drawn | {'data.workers': 1}}, snapshot_dir='run')"
    run_at(home, "-m", "faceparse.cli", "predict", bundle, picture, "-o", home.parent / "out")
    run_at(home, bundle / "run.py", picture, "-o", home.parent / "alone", PYTHONPATH="")
    run_at(home, "-c", f"import faceparse; {loaded}")
    run_at(home, "-c", f"import faceparse; {trains}")
    assert written(home) == []


def test_openvino_writes_no_identifier_into_the_home_folder(home: Path, trained: RunResult) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason="the extra 'openvino' is not installed")
    run_at(home, "-m", "faceparse.cli", "export", trained.best, "--format", "openvino", "-o", home.parent / "new.xml")
    assert written(home) == []


def test_openvino_and_nncf_have_nothing_to_report_with(home: Path) -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason="the extra 'openvino' is not installed")
    told = run_at(
        *(home, "-c"),
        "import sys\nfrom faceparse.core.telemetry import openvino_silent\n"
        "with openvino_silent():\n    import openvino\n    from openvino.tools.ovc import telemetry_utils\n"
        "import nncf.telemetry.wrapper as wrapper\n"
        "print(telemetry_utils.tm.__name__, isinstance(wrapper.telemetry, wrapper.NNCFTelemetryStub))",
    )
    assert told.split() == ["openvino.tools.ovc.telemetry_stub", "True"]


def test_only_the_block_forbids_openvinos_reporter(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "openvino_telemetry"
    for there in (None, SimpleNamespace()):
        monkeypatch.delitem(sys.modules, name, raising=False)
        if there is not None:
            monkeypatch.setitem(sys.modules, name, there)  # type: ignore[arg-type]  # stands for the module
        with openvino_silent(), pytest.raises(ImportError):
            __import__(name)
        assert sys.modules.get(name) is there


def test_what_the_user_has_set_is_kept(home: Path) -> None:
    code = f"import os, faceparse; print(*(os.environ[name] for name in {list(VARIABLES)}))"
    assert run_at(home, "-c", code).split() == list(VARIABLES.values())
    assert run_at(home, "-c", code, **dict.fromkeys(VARIABLES, "0")).split() == ["0"] * len(VARIABLES)


@pytest.mark.parametrize("chosen", [None, "0"])
def test_a_runtime_that_is_loaded_already_is_told_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    told: list[str] = []
    loaded = SimpleNamespace(disable_telemetry_events=lambda: told.append("off"))
    monkeypatch.setitem(sys.modules, "onnxruntime", loaded)  # type: ignore[arg-type]  # stands for the module
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    if chosen is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", chosen)
    switch_off()
    assert told == ([] if chosen else ["off"])
