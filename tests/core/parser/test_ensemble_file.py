"""Folders of several networks, as one model; and what strangers may write into them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.export.read import load_file
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.names.find import find_model, names_model
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.parser.ensemble_file import EnsembleModel, describe_ensemble, read_ensemble
from faceparse.core.training.run_checkpoints import save
from tests.core.parser.small import CPU, packed, small, small_settings

Break = Callable[[Path, dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two different networks and the file that names them."""
    files = [tmp_path / f"trial-00{n}" / "best.pth" for n in (1, 2)]
    for n, file in enumerate(files):
        torch.manual_seed(n)
        file.parent.mkdir()
        save(file, packed(small(norm="torch").eval()))
    (tmp_path / "ensemble.json").write_bytes(describe_ensemble(tmp_path, files, run_id="r", tracking_uri="sqlite:///x"))
    return tmp_path


def test_the_folder_is_the_models_name(folder: Path) -> None:
    assert names_model(str(folder))
    assert find_model(str(folder)).path == find_model(folder / "ensemble.json").path == folder / "ensemble.json"
    model = load_file(folder)
    assert isinstance(model, EnsembleModel)
    assert (model.run_id, model.tracking_uri, model.epoch, model.home) == ("r", "sqlite:///x", None, folder)
    assert model.label_set == get_label_set("helen")
    assert model.files == (folder / "trial-001/best.pth", folder / "trial-002/best.pth")


def test_its_probabilities_are_the_mean_of_its_networks(folder: Path) -> None:
    crops = torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        found = load_file(folder).network(CPU, (64, 64))(crops).softmax(dim=1)
        each = [
            read_checkpoint(folder / f"trial-00{n}/best.pth").network(CPU, (64, 64))(crops).softmax(dim=1)
            for n in (1, 2)
        ]
    assert torch.allclose(found, (each[0] + each[1]) / 2, atol=1e-6)
    assert not torch.allclose(each[0], each[1], atol=1e-3)


def test_a_folder_of_photographs_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    assert not names_model(str(tmp_path))


def test_training_starts_from_one_network(folder: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(find_model(folder).path)
    assert str(caught.value) == f"{folder}: an ensemble of several networks; give the checkpoint of one of them"


def lose(folder: Path, content: dict[str, Any]) -> None:
    (folder / "trial-002/best.pth").unlink()


def exchange(folder: Path, content: dict[str, Any]) -> None:
    torch.manual_seed(9)
    save(folder / "trial-002/best.pth", packed(small(norm="torch").eval()))


def lead_out(folder: Path, content: dict[str, Any]) -> None:
    content["members"][1]["file"] = "../best.pth"


def lead_to_the_root(folder: Path, content: dict[str, Any]) -> None:
    content["members"][1]["file"] = "/etc/passwd"


def empty(folder: Path, content: dict[str, Any]) -> None:
    content["members"] = []


def multiply(folder: Path, content: dict[str, Any]) -> None:
    content["members"] *= 26


def add(folder: Path, content: dict[str, Any]) -> None:
    content["code"] = "print(1)"


def swell(folder: Path, content: dict[str, Any]) -> None:
    content["run_id"] = "a" * 2**20


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lose, "trial-002/best.pth is missing; copy the whole folder"),
        (exchange, "trial-002/best.pth is another checkpoint than when the ensemble was made; copy it again"),
        (lead_out, "'../best.pth' lies outside the ensemble's folder; copy the file into it"),
        (lead_to_the_root, "'/etc/passwd' lies outside the ensemble's folder; copy the file into it"),
        (empty, "not an ensemble's file (members: "),
        (multiply, "not an ensemble's file (members: "),
        (add, "not an ensemble's file (code: "),
        (swell, "not an ensemble's file (larger than any ensemble's)"),
    ],
)
def test_what_is_no_ensemble_is_refused_in_one_line(folder: Path, spoil: Break, expected: str) -> None:
    path = folder / "ensemble.json"
    content = json.loads(path.read_text())
    spoil(folder, content)
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=re.escape(expected)) as caught:
        read_ensemble(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ensemble.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"ensemble\.json: not an ensemble's file"):
        read_ensemble(tmp_path / "ensemble.json")


@pytest.mark.parametrize(
    ("label_set", "mean", "expected"),
    [("lapa", None, r"have other classes \(helen, lapa\)"), ("helen", (0.1, 0.2, 0.3), "have other data.mean")],
)
def test_networks_that_do_not_fit_together_are_refused(
    folder: Path, label_set: str, mean: tuple[float, ...] | None, expected: str
) -> None:
    settings = small_settings()
    if mean:
        settings = settings.model_copy(update={"data": settings.data.model_copy(update={"mean": mean})})
    files = [folder / f"trial-00{n}/best.pth" for n in (1, 2)]
    content = pack(
        small(norm="torch"),
        settings=settings,
        label_set=get_label_set(label_set),
        epoch=3,
        scores={},
        run_id=None,
        tracking_uri=None,
    )
    save(files[1], content)
    (folder / "ensemble.json").write_bytes(describe_ensemble(folder, files))
    with pytest.raises(CheckpointError, match=expected):
        read_ensemble(folder / "ensemble.json")
