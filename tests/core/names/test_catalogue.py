import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faceparse.core.names import catalogue
from faceparse.core.names.catalogue import Listed, list_models
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.names.web import downloads
from faceparse.core.runtime.licences import LICENCES

COMMIT = "0123456789" * 4


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the hub's client, which is empty."""
    monkeypatch.setattr(catalogue, "hub_cache", lambda: tmp_path / "hub")
    return tmp_path / "hub"


def snapshot(hub_cache: Path, repository: str, bundle: Path) -> Path:
    folder = hub_cache / f"models--{repository.replace('/', '--')}" / "snapshots" / COMMIT
    return Path(shutil.copytree(bundle, folder))


def test_all_that_is_here_is_listed(shipped: Path, hub_cache: Path, light: Path, bundle: Path) -> None:
    snapshot(hub_cache, "org/face", bundle)
    downloads().mkdir(parents=True)
    for file in (light / "model.safetensors", bundle / "model.onnx"):
        shutil.copy(file, downloads() / f"0123456789abcdef-{file.name}")
    shipped_one, from_hub, onnx, safetensors = list_models()
    assert shipped_one == Listed(
        name=DEFAULT,
        path=shipped / f"{DEFAULT}.safetensors",
        classes=19,
        label_set="celebamask-hq",
        size=(light / "model.safetensors").stat().st_size,
        score=0.8125,
        scored="eagrnet on CelebAMask-HQ test",
        licence="research only",
    )
    assert (from_hub.name, from_hub.classes, from_hub.licence) == (f"hf:org/face@{COMMIT}", 11, None)
    assert from_hub.scored == "eagrnet on faces test, 2 images"
    assert from_hub.score == json.loads((bundle / "config.json").read_text())["scores"]["mean_f1"]
    assert (onnx.path.name, onnx.classes, onnx.licence) == ("0123456789abcdef-model.onnx", 11, None)
    assert (onnx.scored, onnx.score is not None) == ("eagrnet on val", True)
    assert (safetensors.name, safetensors.classes) == (str(safetensors.path), 19)
    assert (safetensors.score, safetensors.licence) == (None, LICENCES["celebamask-hq"])


def test_what_is_none_of_ours_is_left_out(shipped: Path, hub_cache: Path, light: Path) -> None:
    others = snapshot(hub_cache, "org/other", light)
    (others / "config.json").write_text('{"model_type": "bert"}')
    (snapshot(hub_cache, "org/half", light) / "model.safetensors").unlink()
    (snapshot(hub_cache, "org/old", light) / "config.json").unlink()
    (snapshot(hub_cache, "org/broken", light) / "config.json").write_text("{")
    downloads().mkdir(parents=True)
    (downloads() / "0123456789abcdef-broken.safetensors").write_bytes(b"garbage")
    (shipped / f"{DEFAULT}.safetensors").unlink()
    assert list_models() == []


def test_listing_needs_no_pytorch(tmp_path: Path) -> None:
    code = "import sys, faceparse.cli; faceparse.cli.run(['models', '--json']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"
