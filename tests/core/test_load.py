import re
import shutil
import zipfile
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError
from faceparse.core.export.exported import ExportedModel
from faceparse.core.load import load_model_from
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.runtime.checksums import SUMS, write_sums
from faceparse.core.training.run import RunResult


def test_a_model_is_loaded_by_what_lies_there(trained: RunResult, bundle: Path) -> None:
    assert isinstance(load_model_from(trained.best), Checkpoint)
    assert isinstance(load_model_from(bundle), ExportedModel)
    assert isinstance(load_model_from(bundle / "model.onnx"), ExportedModel)


@pytest.mark.parametrize("name", ["best.onnx", "best.pt2", "best.torchscript"])
def test_what_is_no_exported_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(CheckpointError, match=f"^{path}: no such checkpoint file$"):
        load_model_from(path, trust=True)
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(CheckpointError, match=f"^{path}: truncated or damaged .*; copy it again$") as caught:
        load_model_from(path, trust=True)
    assert "\n" not in str(caught.value)


def test_an_onnx_file_of_somebody_else_is_refused(tmp_path: Path, bundle: Path) -> None:
    import onnx

    model = onnx.load(bundle / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="was not written by this 'faceparse export'; export the checkpoint"):
        load_model_from(tmp_path / "other.onnx")


@pytest.mark.parametrize("name", ["other.torchscript", "other.pt2"])
def test_a_program_of_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("archive/version", "3")
    with pytest.raises(CheckpointError, match="was not written by this 'faceparse export'; export the checkpoint"):
        load_model_from(tmp_path / name, trust=True)


@pytest.mark.parametrize("name", ["best.torchscript", "best.pt2"])
def test_a_program_is_not_even_opened_unless_its_author_is_trusted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"garbage" * 100)
    expected = f"{path}: a {path.suffix} file can run any code when it is loaded, so it is not; take the .onnx or "
    with pytest.raises(CheckpointError, match=f"^{re.escape(expected)}"):
        load_model_from(path)


def test_a_program_in_a_bundle_is_not_loaded_either(tmp_path: Path, bundle: Path) -> None:
    own = tmp_path / "own.bundle"
    shutil.copytree(bundle, own)
    (own / "model.onnx").rename(own / "model.pt2")
    (own / SUMS).unlink()
    write_sums(own)
    with pytest.raises(CheckpointError, match=r"model\.pt2: a \.pt2 file can run any code"):
        load_model_from(own)


def test_a_folder_that_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder; give a checkpoint in it"):
        load_model_from(tmp_path)
