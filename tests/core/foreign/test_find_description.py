"""Which description a file gets: the named one, the one of its checksum, or a line that says what to do."""

import tomllib
from pathlib import Path

import pytest

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.foreign import find_description as module
from faceparse.core.foreign.find_description import description_template, find_description
from faceparse.core.foreign.foreign_description import KnownFile, known_descriptions, read_description
from faceparse.core.foreign.foreign_file import read_foreign
from tests.core.foreign.networks import CELEBA, save, small_model


def test_a_known_file_is_found_by_its_checksum_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_foreign(save(small_model(), tmp_path / "renamed.onnx"))
    known = known_descriptions()["bisenet-resnet18"]
    own = known.model_copy(update={"files": (KnownFile(name="face.onnx", bytes=1, sha256=file.sha256),)})
    monkeypatch.setattr(module, "known_descriptions", lambda: {"mine": own})
    assert find_description(file, None) == (own, "")
    assert find_description(file, "mine") == (own, "")


def test_the_name_of_a_known_file_with_other_bytes_is_not_enough(tmp_path: Path) -> None:
    file = read_foreign(save(small_model(), tmp_path / "resnet18.onnx"))
    message = (
        r"resnet18.onnx: has the name of a known file \(bisenet-resnet18\), but other bytes \(\d+ with SHA-256 .{12}"
    )
    with pytest.raises(
        CheckpointError, match=message + r"\.\.\., not 53205364 with 0d9bd318e469\.\.\.\); copy it again, or say"
    ):
        find_description(file, None)


def test_a_known_name_says_nothing_of_the_origin_of_other_files(tmp_path: Path) -> None:
    file = read_foreign(save(small_model(), tmp_path / "mine.onnx"))
    description, note = find_description(file, "bisenet-resnet18")
    assert description.source is None
    assert description.classes == known_descriptions()["bisenet-resnet18"].classes
    assert note == (
        f"{file.path}: no file that bisenet-resnet18 is known to be right for; the card names no origin and no licence "
        "of its own, only the terms of celebamask-hq's photographs"
    )


def test_an_unknown_file_needs_a_description(tmp_path: Path) -> None:
    file = read_foreign(save(small_model(), tmp_path / "mine.onnx"))
    with pytest.raises(CheckpointError, match="'faceparse import mine.onnx --describe-template' prints a description"):
        find_description(file, None)


def test_the_template_has_to_be_filled_in_and_then_is_a_description(tmp_path: Path) -> None:
    file = read_foreign(save(small_model(outputs=("answer", "inner")), tmp_path / "mine.onnx"))
    template = description_template(file)
    told = tomllib.loads(template)
    assert (told["input"]["name"], told["input"]["size"], told["output"]["name"]) == ("input", [64, 96], "answer")
    assert "19 channels" in template
    path = tmp_path / "foreign.toml"
    path.write_text(template)
    with pytest.raises(SettingsError, match="'label_set' and 8 more still is"):
        read_description(path)
    for mark, value in (
        ('label_set = "?"', 'label_set = "celebamask-hq"'),
        ('classes = ["?"]', f"classes = {list(CELEBA.names)}"),
        ('fit = "?"', 'fit = "crop"'),
        ('channel_order = "?"', 'channel_order = "bgr"'),
        ('scale = "?"', "scale = 1.0"),
        ('mean = ["?", "?", "?"]', "mean = [0.0, 0.0, 0.0]"),
        ('std = ["?", "?", "?"]', "std = [1.0, 1.0, 1.0]"),
        ('values = "?"', 'values = "logits"'),
    ):
        assert template.count(mark) == 1
        template = template.replace(mark, value)
        path.write_text(template)
        with pytest.raises(SettingsError):
            read_description(path)
    path.write_text(template.replace('stride = "?"', "stride = 4"))
    assert read_description(path).cells == (16, 24)


def test_a_template_of_sides_that_are_not_fixed(tmp_path: Path) -> None:
    file = read_foreign(save(small_model(size=("height", "width")), tmp_path / "mine.onnx"))
    assert tomllib.loads(description_template(file))["input"]["size"] == ["?", "?"]
    model = small_model(input_name='a"b')
    with pytest.raises(SettingsError, match="no plain names"):
        description_template(read_foreign(save(model, tmp_path / "strange.onnx")))
