"""The command itself: what it writes, what it says, and its exit codes."""

from pathlib import Path

import pytest
import tomli_w

import faceparse
from tests.commands.conftest import Cli
from tests.core.foreign.networks import CELEBA, MEAN, STD, save, small_model
from tests.core.foreign.painted_faces import colour_reader, painted_dataset


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return save(colour_reader((64, 96)), tmp_path / "colours.onnx")


def described(tmp_path: Path, order: str = "rgb") -> Path:
    path = tmp_path / "foreign.toml"
    picture = {"size": [64, 96], "fit": "stretch", "channel_order": order, "scale": 1.0, "mean": MEAN, "std": STD}
    output = {"position": 1, "values": "logits", "stride": 1}
    told = {"name": "colours", "label_set": CELEBA.name, "classes": CELEBA.names, "input": picture, "output": output}
    path.write_text(tomli_w.dumps(told))
    return path


def test_a_bundle_and_what_is_said_of_it(cli: Cli, colours: Path, tmp_path: Path) -> None:
    done = cli("import", colours, "--describe", described(tmp_path))
    assert (done.code, done.out.count("\n")) == (0, 1)
    bundle = tmp_path / "colours.bundle"
    assert done.out.startswith(f"{bundle}: 19 classes of celebamask-hq, stretch to 64 x 96, 0.0 MB; the class of the ")
    assert "on 100.0000% of pixels" in done.out
    card = (bundle / "README.md").read_text()
    assert "`python run.py photo.jpg` parses the photograph as a whole\nas faceparse does" in card
    assert "So every\nphotograph is parsed as a whole, where no detector of faces is named." in card
    assert "`l_eye`, `r_eye`, `l_brow`, `r_brow`, `l_ear`, `r_ear` are the person's own: left is on the right" in card
    assert "is not known: there are no scores of it here." in card
    assert "none was given when it was written" in card
    data = painted_dataset(tmp_path / "data")
    assert cli("eval", bundle, "--data-dir", data, "--output", tmp_path / "scores").code == 0
    labels = tmp_path / "labels"
    assert cli("predict", bundle, data / "images" / "1.png", "-o", labels).code == 0
    assert faceparse.load(bundle, device="cpu").predict(data / "images" / "1.png").areas()
    again = cli("export", bundle, "-o", tmp_path / "again.onnx", "--data-dir", data)
    assert again.code == 0
    assert "the class of the imported file on 100.0000% of pixels" in again.out
    assert faceparse.load(tmp_path / "again.onnx", device="cpu").predict(data / "images" / "1.png").areas()
    other = cli("export", bundle, "--format", "pt2")
    assert other.message.startswith(
        f"pt2: an imported network has no PyTorch weights ({bundle / 'model.onnx'}); take one"
    )
    bisenet = cli("export", bundle, "--layout", "bisenet").message
    assert bisenet.startswith("--layout bisenet: an imported network has no PyTorch weights (")
    assert "exporting" not in other.err
    assert "--preprocessing: not for an imported network" in cli("export", bundle, "--preprocessing").message
    assert "--input-size: not for an imported network" in cli("export", bundle, "--input-size", "96,96").message


def test_photographs_are_asked(cli: Cli, colours: Path, tmp_path: Path) -> None:
    data, bundle = painted_dataset(tmp_path / "data"), tmp_path / "mine.bundle"
    right = cli("import", colours, "-o", bundle, "--describe", described(tmp_path), "--try", data)
    assert right.code == 0
    assert "as it is" in right.out
    assert "3 photographs of `data`, split `test`" in (bundle / "README.md").read_text()
    wrong = cli("import", colours, "-o", bundle, "--describe", described(tmp_path, "bgr"), "--try", data, "--limit", 1)
    assert wrong.code == 1
    assert "the description may be wrong: RGB in place of BGR scores better; write channel_order" in wrong.err


def test_a_template_is_printed(cli: Cli, colours: Path, tmp_path: Path) -> None:
    done = cli("import", colours, "--describe-template")
    assert done.code == 0
    assert 'name = "input"\nsize = [64, 96]' in done.out
    assert not (tmp_path / "colours.bundle").exists()
    for option in ("--output", "--describe", "--try"):
        other = cli("import", colours, "--describe-template", option, tmp_path / "out.toml")
        assert other.message == f"--describe-template prints and stops; leave {option} out"
    assert not (tmp_path / "out.toml").exists()


def test_a_wrong_place_or_dataset_is_refused_before_any_work(cli: Cli, colours: Path, tmp_path: Path) -> None:
    told, other = described(tmp_path), tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").touch()
    for place, message in (
        (other, "it holds other files (mine.txt); name a new folder"),
        (told, "it is a file, and a bundle is a folder; choose another place"),
    ):
        done = cli("import", colours, "--describe", told, "-o", place)
        assert done.message == f"cannot write {place}: {message}"
        assert "importing" not in done.err
    drawn = tmp_path / "drawn"
    assert cli("prepare", "synthetic", drawn, "--count", 4, "--size", 32).code == 0
    tried = cli("import", colours, "--describe", told, "--try", drawn).message
    assert tried == (
        f"--try {drawn}: has the classes of helen, the description those of celebamask-hq; name a prepared dataset "
        "with these, or import without --try"
    )
    missing = cli("import", colours, "--describe", told, "--try", tmp_path / "nosuchdir").message
    assert missing == (
        f"--try {tmp_path / 'nosuchdir'}: no such folder; name a prepared dataset with the classes of celebamask-hq"
    )
    assert not list(tmp_path.glob("*.bundle"))


def test_a_bundle_is_replaced_with_a_note_and_is_not_imported(cli: Cli, colours: Path, tmp_path: Path) -> None:
    told, bundle = described(tmp_path), tmp_path / "colours.bundle"
    assert "is replaced" not in cli("import", colours, "--describe", told).err
    assert f"note: {bundle}: the bundle that is there is replaced" in cli("import", colours, "--describe", told).err
    assert "colours.bundle: is a bundle already, which every command takes as it is" in cli("import", bundle).message
    assert f"{tmp_path}: is a folder; import takes the .onnx file" in cli("import", tmp_path).message
    shipped = cli("import", "celebamask-hq-light").message
    assert shipped.startswith("celebamask-hq-light: no such file; give the .onnx file of a network that others trained")


def test_mistakes_are_one_line_and_write_nothing(cli: Cli, colours: Path, tmp_path: Path) -> None:
    assert "--describe-template' prints a description" in cli("import", colours).message
    assert "no known network; did you mean" in cli("import", colours, "--describe", "bisnet-resnet18").message
    assert "--split is of the photographs to try" in cli("import", colours, "--split", "val").message
    assert "--limit is of the photographs to try" in cli("import", colours, "--limit", 3).message
    known = cli("import", save(small_model(), tmp_path / "resnet18.onnx"))
    assert "has the name of a known file (bisenet-resnet18), but other bytes" in known.message
    segformer = cli("import", colours, "--describe", "segformer-b5")
    assert "has no input 'pixel_values'; its inputs: input" in segformer.message
    assert not list(tmp_path.glob("*.bundle"))
