import tomllib
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError
from faceparse.core.labels.label_set import builtin_label_sets
from faceparse.core.load import load_model_from
from faceparse.core.names import shipped as core
from faceparse.core.names.shipped import DEFAULT, LARGEST, notice_of, shipped_models
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.runtime.checksums import sha256

ROOT = Path(__file__).parents[3]


def test_the_list_of_the_package_is_true() -> None:
    assert DEFAULT in shipped_models()
    for model in shipped_models().values():
        assert model.path.suffix == ".safetensors"
        assert model.label_set in builtin_label_sets()
        assert model.licence
        assert model.notice
        if model.is_here:
            assert sha256(model.path) == model.sha256
            assert model.path.stat().st_size <= LARGEST
            assert model.path.with_suffix(".md").is_file()
            assert model.score is not None
            assert model.protocol


def test_the_package_s_metadata_names_both_licences() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["license"].startswith("MIT AND LicenseRef-")
    assert "non-commercial-research" in project["license"]
    assert all((ROOT / name).is_file() for name in project["license-files"])
    terms = (core.FOLDER / "LICENSE.md").read_text("utf-8")
    assert all(f"`{name}`" in terms for name in shipped_models())


def test_the_default_is_the_shipped_model(shipped: Path) -> None:
    model = load_model_from()
    assert isinstance(model, Checkpoint)
    assert (model.source, model.short_name, model.home) == (DEFAULT, DEFAULT, Path())
    assert model.label_set.name == "celebamask-hq"


def test_an_installation_without_the_file_says_so(shipped: Path) -> None:
    path = shipped / f"{DEFAULT}.safetensors"
    path.unlink()
    with pytest.raises(CheckpointError) as caught:
        load_model_from()
    expected = f"{DEFAULT}: this installation of faceparse lacks its file, {path}; name another model"
    assert str(caught.value) == expected


def test_a_changed_file_is_refused(shipped: Path) -> None:
    path = shipped / f"{DEFAULT}.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError) as caught:
        load_model_from(DEFAULT)
    assert str(caught.value) == (
        f"{DEFAULT}: {path} is not the file that was shipped (SHA-256 differs); install faceparse again"
    )


def test_its_terms_are_told_once_a_machine(shipped: Path) -> None:
    assert notice_of(DEFAULT) == f"{DEFAULT}: its weights are for research only"
    assert notice_of(DEFAULT) is None
    assert notice_of("best.pth") is None
    assert notice_of(None) is None


def test_where_that_cannot_be_noted_they_are_told_again(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shipped / "file").touch()
    monkeypatch.setattr(core, "cache_folder", lambda: shipped / "file" / "cache")
    assert notice_of(DEFAULT) == notice_of(DEFAULT) == f"{DEFAULT}: its weights are for research only"
