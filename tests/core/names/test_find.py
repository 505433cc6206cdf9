from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError
from faceparse.core.export.formats import FORMATS
from faceparse.core.names.find import find_model, names_model
from faceparse.core.names.model_file import SUFFIXES, ModelFile, short_name
from faceparse.core.names.shipped import DEFAULT


def test_a_path_is_its_file(tmp_path: Path, light: Path) -> None:
    (tmp_path / "best.pth").write_bytes(b"")
    assert find_model("best.pth") == ModelFile(Path("best.pth"))
    for bundle in (light, light / "model.safetensors"):
        assert find_model(bundle) == ModelFile(light / "model.safetensors")


def test_a_word_that_is_a_shipped_name_is_that_model(shipped: Path) -> None:
    """Unless it is written as a path."""
    Path(DEFAULT).mkdir()
    model = shipped / f"{DEFAULT}.safetensors"
    assert find_model(DEFAULT) == ModelFile(model, DEFAULT)
    for path in (f"./{DEFAULT}", Path(DEFAULT)):
        assert find_model(path) == ModelFile(Path(DEFAULT))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bets.pth", "; did you mean 'best.pth'?"),
        ("here/bets.pth", "; did you mean 'here/best.pth'?"),
        ("here/face.bundel", "; did you mean 'here/face.bundle'?"),
        ("celebamask-hq-lite", f"; did you mean '{DEFAULT}'?"),
        ("nothing.onnx", ""),
        ("nowhere/best.pth", ""),
    ],
)
def test_a_name_that_is_no_model_has_neighbours(shipped: Path, name: str, expected: str) -> None:
    Path("here/face.bundle").mkdir(parents=True)
    Path("here/face.bundle/SHA256SUMS").touch()
    for file in ("best.pth", "best.txt", "here/best.pth"):
        Path(file).touch()
    with pytest.raises(CheckpointError) as caught:
        find_model(name)
    assert str(caught.value) == f"{name}: no such checkpoint file{expected}"


@pytest.mark.parametrize("name", ["best.pth", "best.onnx", "best.pt2"])
def test_what_downloads_leave_in_a_model_s_place_is_named(name: str) -> None:
    for content, expected in (
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a Git LFS pointer, not the model"),
        (b"<!DOCTYPE html><title>Sign in</title>", "a web page, not a model; download the file itself"),
    ):
        Path(name).write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            find_model(name)
        assert str(caught.value).startswith(f"{name}: {expected}")


def test_a_registered_model_has_no_file() -> None:
    with pytest.raises(CheckpointError, match="a registered model has no PyTorch weights; give the checkpoint"):
        find_model("models:/face@latest")


def test_words_that_name_a_model(shipped: Path, light: Path) -> None:
    models = ["best.pth", "a/b.onnx", "c.safetensors", "d.pt2", "e.torchscript", "hf:a/b", "models:/a/1", str(light)]
    for word in [*models, "https://host/a.onnx#sha256=0", DEFAULT]:
        assert names_model(word), word
    Path("checked").mkdir()
    Path("checked/SHA256SUMS").write_text(f"{'0' * 64}  model-1.jpg\n")
    assert names_model("damaged.bundle")  # whatever is in it, or nothing
    for word in ("checked", "photo.jpg", "holidays/", "-", "webcam:0", "**/*.jpg", "film.mp4", str(light.parent)):
        assert not names_model(word), word


def test_every_format_s_suffix_is_known() -> None:
    assert all(known.suffix.endswith(SUFFIXES) for known in FORMATS.values())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("models:/face/3", "face-3"),
        ("hf:org/face@0123456789", "org-face-0123456"),
        ("https://host/a/best.onnx#sha256=00", "best.onnx"),
        (DEFAULT, DEFAULT),
    ],
)
def test_what_is_made_of_a_model_is_named_after_it(address: str, expected: str) -> None:
    assert short_name(address) == expected
