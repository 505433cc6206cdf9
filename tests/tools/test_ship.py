import json
import shutil
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError
from faceparse.core.load import load_model_from
from faceparse.core.names import shipped as core
from faceparse.core.names.shipped import DEFAULT, shipped_models
from faceparse.core.runtime.checksums import write_sums
from tools.ship import ship

SCORES = {"dataset": "CelebAMask-HQ", "split": "test", "images": 2824, "protocol": "eagrnet", "mean_f1": 0.84321}


@pytest.fixture
def own(light: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, as if it had been scored."""
    folder = Path(shutil.copytree(light, tmp_path / "own.bundle"))
    change(folder, scores=SCORES)
    return folder


def change(bundle: Path, **values: object) -> None:
    config = bundle / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    (bundle / "SHA256SUMS").unlink()
    write_sums(bundle)


@pytest.mark.parametrize("name", [DEFAULT, "other-light"])
def test_a_bundle_becomes_a_shipped_model(shipped: Path, own: Path, name: str) -> None:
    """A new one, or the newer file of one that is there."""
    before = shipped_models().get(name)
    said = ship(own, name, "trained in a day")
    assert said.startswith(f"{shipped / name}.safetensors: ")
    assert said.endswith(" MB, F1 0.8432")
    model = shipped_models()[name]
    assert model.path.read_bytes() == (own / "model.safetensors").read_bytes()
    assert (model.score, model.protocol) == (0.8432, "eagrnet on CelebAMask-HQ test, 2824 images")
    assert (model.label_set, model.note) == ("celebamask-hq", "trained in a day")
    assert model.licence == (before.licence if before else "CelebAMask-HQ is for non-commercial research only.")
    card = (shipped / f"{name}.md").read_text()
    assert f"`faceparse predict {name} photo.jpg`" in card
    assert "THIS_FOLDER" not in card
    assert load_model_from(name).address == name
    assert DEFAULT in shipped_models()


def test_what_is_not_shipped(shipped: Path, own: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in shipped.iterdir()}
    with pytest.raises(CheckpointError, match="not a safetensors file; export with --format safetensors"):
        ship(bundle, DEFAULT)
    change(own, scores=None)
    with pytest.raises(CheckpointError, match="was not scored; export it again with --data-dir"):
        ship(own, DEFAULT)
    monkeypatch.setattr(core, "LARGEST", 1000)
    with pytest.raises(CheckpointError, match="bytes, more than 1000; train a lighter network"):
        ship(own, DEFAULT)
    assert {path: path.read_bytes() for path in shipped.iterdir()} == before
