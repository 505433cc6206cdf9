import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import faceparse
from faceparse.core.errors import CheckpointError, OutputError
from faceparse.core.export.bundle import read_bundle
from faceparse.core.export.export import Exporter, read_exportable
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import label_set_from_dict
from faceparse.core.load import load_model_from
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.runtime.checksums import is_bundle, refuse_other_than_bundle, write_sums
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.scoring.score_model import plan_evaluations, score_checkpoint
from faceparse.core.settings import settings_from_dict
from faceparse.core.training.run import RunResult

FILES = [
    *("README.md", "SHA256SUMS", "config.json", "labels.toml", "model.onnx", "preprocessing.json"),
    *("run.py", "runtime.zip", "settings.toml"),
]


def test_a_bundle_is_its_checkpoint(bundle: Path, trained: RunResult, faces: Path) -> None:
    checkpoint, model = read_checkpoint(trained.best), load_model_from(bundle)
    assert (model.label_set, model.epoch) == (checkpoint.label_set, checkpoint.epoch)
    crops = torch.from_numpy(read_image(next((faces / "images").iterdir()))[None, :64, :64].copy())
    with torch.inference_mode():
        expected, found = (one.network(torch.device("cpu"))(crops) for one in (checkpoint, model))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_folder_holds_all_that_one_needs_and_nothing_else(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == FILES
    assert is_bundle(bundle)
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=bundle, capture_output=True)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(FILES) - 1


def test_the_card_says_what_the_model_is(bundle: Path, trained: RunResult) -> None:
    card = (bundle / "README.md").read_text()
    names = faceparse.load(trained.best).names
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (#\w{6}) \|$", card, re.MULTILINE)
    assert [(int(i), name) for i, name, _ in rows] == list(enumerate(names))
    assert "## Licences" in card
    assert "This file's own scores on 2 photographs of `faces`, split `test`:" in card
    assert "$" not in card
    assert (
        "Left and right in the names of `left_brow`, `right_brow`, `left_eye`, `right_eye` are of the picture: " in card
    )
    assert "is not known from the scores above." in card
    assert "`python run.py photo.jpg` " in card


def test_the_card_says_how_sure_scores_are_and_whom_they_are_of(bundle: Path, trained: RunResult) -> None:
    card, checkpoint = (bundle / "README.md").read_text(), read_checkpoint(trained.best)
    (plan,) = plan_evaluations([checkpoint], split="test")
    summary = score_checkpoint(plan, device=torch.device("cpu"), worst=0).summaries["eagrnet"]
    low, high = summary.intervals["f1/skin"]
    name, score, interval = re.search(r"^\| (skin) \| ([\d.]+) \| ([\d.\N{EN DASH}]+) \|$", card, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert float(score) == pytest.approx(100 * summary.scores.f1[name], abs=0.2)  # type: ignore[operator]
    assert [float(end) for end in interval.split("\N{EN DASH}")] == pytest.approx([100 * low, 100 * high], abs=0.3)
    for heading, measure in (
        ("By how much of the photograph the face fills:", "face_share"),
        ("By lightness of the skin:", "skin_lightness"),
    ):
        table = card.split(heading)[1].split("\n\n")[1].splitlines()[2:]
        means = [float(line.split(" | ")[2]) for line in table]
        groups = summary.groups[measure].groups
        assert means == pytest.approx([100 * one.scores.mean_f1 for one in groups], abs=0.2)
        assert [line.split(" | ")[1] for line in table] == ["1", "1"]  # of two photographs


def test_the_cards_words_without_faceparse_are_enough(bundle: Path, faces: Path, tmp_path: Path) -> None:
    """A program that was written from the card alone, and imports none of ours, gives our labels."""
    card = (bundle / "README.md").read_text()
    mean, std = re.search(r"with mean (\[.*?\]) and std (\[.*?\])", card).groups()  # type: ignore[union-attr]
    height, width = map(int, re.search(r"N x 3 x (\d+) x (\d+) float32", card).groups())  # type: ignore[union-attr]
    assert "in RGB order" in card
    photograph = next((faces / "images").iterdir())
    program = f"""
import numpy as np, onnxruntime
from PIL import Image
picture = Image.open({str(photograph)!r}).convert("RGB").resize(({width}, {height}), Image.BILINEAR)
x = (np.asarray(picture) / 255 - {mean}) / {std}
session = onnxruntime.InferenceSession({str(bundle / "model.onnx")!r})
logits = session.run(["parsing"], {{"image": x.transpose(2, 0, 1)[None].astype(np.float32)}})[0]
np.save({str(tmp_path / "labels.npy")!r}, logits.argmax(axis=1)[0])
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
    theirs = np.load(tmp_path / "labels.npy")
    ours = faceparse.load(bundle).predict(photograph).labels
    rows, columns = (np.linspace(0, side - 1, 72).round().astype(int) for side in (height, width))
    assert (theirs[np.ix_(rows, columns)] == ours).mean() > 0.9  # the two scale a little differently


def test_the_config_says_it_to_programs(bundle: Path, trained: RunResult) -> None:
    config, checkpoint = json.loads((bundle / "config.json").read_text()), read_checkpoint(trained.best)
    assert (config["library_name"], config["file"], config["format"]) == ("faceparse", "model.onnx", "onnx")
    assert config["id2label"] == {str(i): name for i, name in enumerate(checkpoint.label_set.names)}
    assert label_set_from_dict(config["label_set"], "") == checkpoint.label_set
    assert config["preprocessing"] == json.loads((bundle / "preprocessing.json").read_text())
    assert settings_from_dict(config["settings"]) == checkpoint.settings
    assert (config["scores"]["dataset"], config["scores"]["images"]) == ("faces", 2)
    assert f"{100 * config['scores']['mean_f1']:.2f}" in (bundle / "README.md").read_text()


def test_the_card_begins_as_hubs_read_it(bundle: Path, light: Path) -> None:
    front = {path: yaml.safe_load((path / "README.md").read_text().split("---\n")[1]) for path in (bundle, light)}
    common = {"library_name": "faceparse", "pipeline_tag": "image-segmentation"}
    assert front[bundle] == common | {"tags": ["face-parsing", "onnx"]}  # nobody knows its terms
    terms = {"license": "other", "license_name": "celebamask-hq-terms"}
    assert front[light] == common | terms | {"tags": ["face-parsing", "safetensors"]}
    assert f"The code of faceparse is MIT. {LICENCES['celebamask-hq']}" in (light / "README.md").read_text()


def test_weights_in_a_bundle_are_a_checkpoint(light: Path) -> None:
    assert not (light / "run.py").exists()  # which runs ONNX alone
    assert "run.py" not in (light / "README.md").read_text()
    assert isinstance(read_bundle(light), Checkpoint)
    assert isinstance(read_exportable(light), Checkpoint)
    assert "`model.safetensors` holds the network's weights" in (light / "README.md").read_text()


def test_a_bundle_of_an_older_faceparse_loads(own: Path) -> None:
    """It has no config.json."""
    for name in ("config.json", "SHA256SUMS"):
        (own / name).unlink()
    write_sums(own)
    assert load_model_from(own).label_set.name == "helen"


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    folder = tmp_path / "own.bundle"
    folder.mkdir()
    for path in bundle.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("name", [name for name in FILES if name != "SHA256SUMS"])
def test_a_changed_byte_is_refused(own: Path, name: str) -> None:
    content = bytearray((own / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_bundle(own)
    expected = f"{own / name}: was changed since it was exported (SHA-256 differs); copy the bundle again"
    assert str(caught.value) == expected


def test_a_bundles_model_is_read_with_its_checksum(own: Path) -> None:
    assert load_model_from(own / "model.onnx").settings == read_bundle(own).settings
    with (own / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match=r"model\.onnx: was changed since it was exported"):
        load_model_from(own / "model.onnx")


@pytest.mark.parametrize("name", ["model.onnx", "SHA256SUMS"])
def test_a_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: is missing from the bundle; copy the bundle again$"):
        read_bundle(own)


def test_sums_without_a_model_are_refused(own: Path) -> None:
    (own / "SHA256SUMS").write_text("")
    with pytest.raises(CheckpointError, match="SHA256SUMS: names no model; export the bundle again$"):
        read_bundle(own)


def test_a_bundle_replaces_an_earlier_one_and_no_other_folder(bundle: Path, trained: RunResult, tmp_path: Path) -> None:
    """A folder is replaced as a whole, so what else it holds would be lost."""
    place = tmp_path / "place"
    shutil.copytree(bundle, place)
    refuse_other_than_bundle(place)
    refuse_other_than_bundle(tmp_path / "new")
    (place / "notes.txt").touch()
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").touch()
    for folder, name in ((place, "notes.txt"), (tmp_path / "photographs", "a.jpg")):
        with pytest.raises(OutputError, match=re.escape(f"it holds other files ({name}); name a new folder")):
            refuse_other_than_bundle(folder)
        with pytest.raises(OutputError, match="it holds other files"):
            Exporter(read_exportable(trained.best)).export("onnx", folder, bundle=True)
