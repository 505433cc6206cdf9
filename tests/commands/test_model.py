"""Commands that are told no model, or one by its name."""

import json
from pathlib import Path
from typing import Any

import pytest

from faceparse.commands.model import chosen_model, split_model
from faceparse.core.errors import SettingsError
from faceparse.core.names.shipped import DEFAULT
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.runtime.licences import LICENCES
from faceparse.core.training.run import RunResult
from tests.conftest import TINY
from tests.core.names.hub import Hub, serving

NOTICE = f"{DEFAULT}: its weights are for research only\n"


@pytest.fixture
def photograph(faces: Path) -> Path:
    return next((faces / "images").iterdir())


@pytest.mark.parametrize(
    ("option", "words", "expected"),
    [
        (None, ["photo.jpg"], (DEFAULT, ["photo.jpg"])),
        (None, ["best.pth", "photo.jpg"], ("best.pth", ["photo.jpg"])),
        (None, [DEFAULT, "photo.jpg"], (DEFAULT, ["photo.jpg"])),
        (None, ["hf:a/b", "best.jpg"], ("hf:a/b", ["best.jpg"])),
        (None, ["photo.jpg", "best.pth"], (DEFAULT, ["photo.jpg", "best.pth"])),
        (None, [], (DEFAULT, [])),
        ("best.pth", ["photo.jpg"], ("best.pth", ["photo.jpg"])),
        ("best.pth", [], ("best.pth", [])),
    ],
)
def test_the_first_word_may_name_the_model(
    shipped: Path, option: str | None, words: list[str], expected: tuple[str, list[str]]
) -> None:
    assert split_model(option, words) == expected


def test_two_models_are_one_too_many() -> None:
    for choose in (lambda: split_model("a.pth", ["b.pth", "photo.jpg"]), lambda: chosen_model("a.pth", "b.pth")):
        with pytest.raises(SettingsError) as caught:
            choose()
        assert str(caught.value) == "--model a.pth and b.pth: name one model"


def test_a_word_that_is_nearly_a_models_name_is_answered_with_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        split_model(None, ["celebamask-hq-lite", "photo.jpg"])
    assert str(caught.value) == (
        "celebamask-hq-lite: no such photograph, video or folder, and no model; did you mean 'celebamask-hq-light'?"
    )
    Path("celebamask").mkdir()
    for word in ("celebamask", "holiday", "celebamask*.jpg", "-"):
        assert split_model(None, [word]) == (DEFAULT, [word])


def test_a_photograph_is_enough(cli: Any, shipped: Path, photograph: Path) -> None:
    done = cli("predict", photograph, "--save", "json")
    assert (done.code, done.out, done.err) == (0, "predictions: 1 parsed\n", NOTICE)
    assert json.loads(Path(f"predictions/json/{photograph.stem}.json").read_text())["model"] == DEFAULT
    assert cli("predict", photograph).err == ""  # it was told


def test_terms_are_told_again_where_that_cannot_be_noted(
    cli: Any, shipped: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").absolute()))
    for number in range(2):
        done = cli("predict", DEFAULT, photograph, "-o", f"out{number}")
        assert (done.code, done.err) == (0, NOTICE)


def test_the_option_and_the_first_word_are_one_model(cli: Any, trained: RunResult, photograph: Path) -> None:
    for number, typed in enumerate((["--model", trained.best, photograph], [trained.best, photograph])):
        assert cli("predict", *typed, "-o", f"out{number}").out == f"out{number}: 1 parsed\n"
    first, second = (Path(f"out{number}/labels/{photograph.stem}.png").read_bytes() for number in (0, 1))
    assert first == second
    done = cli("predict", "--model", trained.best, "other.pth", photograph)
    assert done.message == f"--model {trained.best} and other.pth: name one model"


def test_an_installation_without_the_model_says_so(cli: Any, shipped: Path, photograph: Path) -> None:
    file = shipped / f"{DEFAULT}.safetensors"
    file.unlink()
    expected = f"{DEFAULT}: this installation of faceparse lacks its file, {file}; name another model"
    assert cli("predict", photograph).message == expected
    assert cli("web", "--port", "0").message == expected


def test_eval_takes_names(cli: Any, shipped: Path, faces: Path) -> None:
    done = cli("eval", DEFAULT, "--data-dir", faces)
    assert done.code == 0
    assert "note: celebamask-hq as helen: l_ear, r_ear, hat, ear_r" in done.err


def test_export_takes_names_and_writes_where_one_stands(cli: Any, shipped: Path) -> None:
    done = cli("export", DEFAULT, "--format", "safetensors")
    assert done.code == 0
    assert done.out.startswith(f"{DEFAULT}.safetensors: image N x 3 x H x W")
    assert Path(f"{DEFAULT}.safetensors").is_file()
    assert NOTICE in done.err
    assert read_checkpoint(Path(f"{DEFAULT}.safetensors")).licence == LICENCES["celebamask-hq"]
    assert (
        cli("export", DEFAULT, "--format", "safetensors", "--licence", "cc-by-4.0", "-o", "own.safetensors").code == 0
    )
    assert read_checkpoint(Path("own.safetensors")).licence == "cc-by-4.0"


def test_training_starts_from_a_name(cli: Any, shipped: Path, faces: Path) -> None:
    """It is found; its classes are others than the dataset's, and those that both have are taken."""
    options = [f"--set={key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
               for key, value in TINY.items()]  # fmt: skip
    done = cli(
        "train", "--data-dir", faces, *options, "--set", "model.backbone=mobilenet_v2", "--restore-from", DEFAULT
    )
    assert done.code == 0
    assert done.err.startswith(NOTICE)
    assert "classes of helen, known: nose, hair; mapped: background from background + l_ear" in done.err


def test_a_model_on_a_hub_predicts_and_says_which_it_was(light: Path, photograph: Path, tmp_path: Path) -> None:
    """The real command, in a process of its own."""
    with serving(Hub()) as hub:
        sha = hub.upload("org/face", light)
        command = ["predict", "hf:org/face", str(photograph), "--save", "json"]
        done = hub.run(f"import sys, faceparse.cli; sys.exit(faceparse.cli.run({command}))", tmp_path / "home")
    assert (done.returncode, done.stdout, done.stderr) == (0, "predictions: 1 parsed\n", "")
    content = json.loads((tmp_path / f"predictions/json/{photograph.stem}.json").read_text())
    assert content["model"] == f"hf:org/face@{sha}"
