"""From checkpoint to verified files. Making an ONNX file takes seconds, so few are made, and a stand-in serves for
what is refused."""

import base64
import dataclasses
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import faceparse
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import (
    CheckpointError,
    DatasetError,
    ExportError,
    OutputError,
    SettingsError,
)
from faceparse.core.export.export import Exporter, ExportReport, beside_model, read_exportable
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.verify import score
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_photograph import read_image
from faceparse.core.parser import checkpoint_file
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.runtime.onnx_model import OnnxModel
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.scoring.split import find_split
from faceparse.core.serving.answers import answer
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")
HERE = [name for name, known in FORMATS.items() if all(map(find_spec, known.needs))]
"""Formats whose packages are installed."""


@pytest.fixture(scope="module")
def checkpoint(trained: RunResult) -> Checkpoint:
    """As one that was trained with in-place norms, half of the gammas negative: plain batch norms would be wrong."""
    found = read_checkpoint(trained.best)
    signs = torch.Generator().manual_seed(0)
    weights = {
        key: tensor * torch.where(torch.rand(tensor.shape, generator=signs) < 0.5, -1, 1)
        if key.endswith("norm.weight")
        else tensor
        for key, tensor in found.weights.items()
    }
    model = found.settings.model.model_copy(update={"norm": "inplace_abn"})
    settings = found.settings.model_copy(update={"model": model})
    return dataclasses.replace(found, weights=weights, settings=settings)


@pytest.fixture(scope="module")
def exporter(checkpoint: Checkpoint) -> Exporter:
    return Exporter(checkpoint, scored_on=find_split(checkpoint), max_f1_drop=1)


@pytest.fixture(scope="module")
def reports(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportReport]:
    folder = tmp_path_factory.mktemp("export")
    return {name: exporter.export(name, folder / name / f"best{FORMATS[name].suffix}") for name in HERE}


def test_what_is_exported_already_is_no_checkpoint(bundle: Path) -> None:
    for source in (bundle, bundle / "model.onnx"):
        with pytest.raises(CheckpointError) as caught:
            read_exportable(source)
        assert str(caught.value) == f"{source}: is exported already; give the checkpoint that it was made from"


def test_exported_weights_are_a_checkpoint(reports: dict[str, ExportReport], checkpoint: Checkpoint) -> None:
    found = read_exportable(reports["safetensors-fp32"].path)
    assert found.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(found.weights[key], checkpoint.weights[key]) for key in found.weights)


def test_what_is_made_of_a_model_lies_beside_it(checkpoint: Checkpoint, light: Path) -> None:
    """Beside its bundle, not within; in the working folder where it has no place of its own."""
    file = checkpoint.path
    assert beside_model(checkpoint, "-fp16.onnx") == file.parent / "best-fp16.onnx"
    assert beside_model(read_exportable(light), ".onnx") == light.parent / "light.onnx"
    remote = dataclasses.replace(checkpoint, address="hf:org/face.v2@0123456789")
    assert beside_model(remote, ".onnx") == Path("org-face.v2-0123456.onnx")
    remote = dataclasses.replace(checkpoint, address="https://host/face.safetensors#sha256=00")
    assert beside_model(remote, "-onnx.bundle") == Path("face-onnx.bundle")


@pytest.fixture(scope="module")
def crops(faces: Path) -> torch.Tensor:
    images = [read_image(path)[:64, :64] for path in sorted((faces / "images").iterdir())[:5]]
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_a_model_like_its_checkpoint(
    checkpoint: Checkpoint, reports: dict[str, ExportReport], crops: torch.Tensor, name: str
) -> None:
    if name not in HERE:
        pytest.skip(f"{' and '.join(FORMATS[name].needs)} are not installed")
    report = reports[name]
    model = read_exported(report.path, FORMATS[name])
    assert model == report.model
    assert (model.label_set, model.epoch, dict(model.scores)) == (
        checkpoint.label_set,
        checkpoint.epoch,
        dict(checkpoint.scores),
    )
    assert model.settings.data.input_size == (64, 64)
    assert (model.run_id, model.tracking_uri) == (None, None)  # its scores are not those of the run
    with torch.inference_mode():
        expected, found = checkpoint.network(CPU)(crops), model.network(CPU)(crops)
    difference = float((found - expected).abs().max() / expected.abs().max())
    half, eighth = ("onnx-fp16", "openvino-fp16", "safetensors"), ("onnx-int8", "openvino-int8")
    assert difference <= (3e-2 if name in half else 0.5 if name in eighth else 1e-4)
    beside = FORMATS[name].beside
    files = [report.path, *([report.path.with_suffix(beside)] if beside else [])]
    assert sorted(report.path.parent.iterdir()) == sorted(files)  # and nothing else
    assert report.size == sum(path.stat().st_size for path in files)


def test_the_report_says_what_was_compared(checkpoint: Checkpoint, reports: dict[str, ExportReport]) -> None:
    report = reports["onnx"]
    assert [check.batch for check in report.checks] == [1, 3]
    assert all(check.agreement > 0.999 and (check.difference or 0) < 1e-3 for check in report.checks)
    assert reports["onnx-int8"].size < 0.3 * report.size
    assert reports["onnx-fp16"].size < 0.6 * report.size
    assert reports["safetensors"].size < 0.6 * reports["safetensors-fp32"].size
    split = find_split(checkpoint)
    expected = score(checkpoint.network(CPU), split, np.array([40.0, 60.0]))
    assert report.scores is not None
    assert report.summary is not None
    assert report.scores == report.summary.scores
    assert report.scores.mean_f1 == pytest.approx(expected.scores.mean_f1, abs=2e-3)


def test_the_metadata_turns_a_photograph_into_classes_for_any_program(
    checkpoint: Checkpoint, reports: dict[str, ExportReport], crops: torch.Tensor
) -> None:
    """With nothing but ONNX Runtime, NumPy and the metadata."""
    session = onnxruntime.InferenceSession(str(reports["onnx"].path), providers=["CPUExecutionProvider"])
    stored = session.get_modelmeta().custom_metadata_map
    names = json.loads(stored["class_names"])
    assert names == list(checkpoint.label_set.names)
    assert json.loads(stored["label_set"])["classes"]["skin"] == "#e9b08c"
    assert (stored["channel_order"], json.loads(stored["input_size"])) == ("rgb", [64, 64])
    picture = (crops.numpy() / 255 - json.loads(stored["mean"])) / json.loads(stored["std"])
    (logits,) = session.run(["parsing"], {"image": picture.transpose(0, 3, 1, 2).astype(np.float32)})
    with torch.inference_mode():
        expected = checkpoint.network(CPU)(crops).numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert logits.shape == (5, len(names), 64, 64)


def test_with_preprocessing_bytes_go_in_and_labels_come_out(
    checkpoint: Checkpoint, crops: torch.Tensor, tmp_path: Path
) -> None:
    released = checkpoint.settings.data.model_copy(update={"channel_order": "bgr"})
    checkpoint = dataclasses.replace(checkpoint, settings=checkpoint.settings.model_copy(update={"data": released}))
    report = Exporter(checkpoint, kind="labels", input_size=(64, 48)).export("onnx", tmp_path / "labels.onnx")
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    (labels,) = session.run(["labels"], {"image": crops[:, :, :48].numpy()})
    assert (labels.shape, labels.dtype) == ((5, 64, 48), np.uint8)
    with torch.inference_mode():
        expected = checkpoint.network(CPU, (64, 48))(crops[:, :, :48]).argmax(dim=1).numpy()
    assert (labels == expected).mean() > 0.999
    assert all(check.difference is None and check.agreement > 0.999 for check in report.checks)
    assert report.scores is None
    photograph = crops[0].numpy()
    served = open_onnx(report.path)
    assert (served.kind, served.input_size, served.label_set) == ("labels", (64, 48), checkpoint.label_set)
    assert np.array_equal(
        served_labels(served, photograph), faceparse.load(report.path, device="cpu").predict(photograph).labels
    )


def served_labels(model: OnnxModel, image: np.ndarray) -> np.ndarray:
    """What a server without PyTorch answers."""
    (one,) = answer(model, [encode_png(image)])
    return np.array(Image.open(io.BytesIO(base64.b64decode(one["labels"]))))


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.servable])
def test_a_server_without_pytorch_gives_the_same_labels(
    reports: dict[str, ExportReport], faces: Path, name: str
) -> None:
    path = reports[name].path
    for photograph in sorted((faces / "images").iterdir())[:2]:
        image = read_image(photograph)[:51]
        expected = faceparse.load(path, device="cpu").predict(image).labels
        assert np.array_equal(served_labels(open_onnx(path), image), expected)


def test_an_exported_file_takes_no_other_crop(reports: dict[str, ExportReport]) -> None:
    with pytest.raises(CheckpointError, match="was exported for crops of 64 x 64; export its checkpoint again"):
        reports["onnx"].model.network(CPU, (96, 96))


# What is refused.

Use = Callable[[Callable[[BinaryIO], object]], None]


@pytest.fixture
def use(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> Use:
    """In the place of what writes ONNX."""
    return lambda write: monkeypatch.setitem(exporter._writers, "onnx", write)  # type: ignore[arg-type]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "there.onnx"
    path.write_bytes(b"an earlier export")
    return path


def assert_untouched(target: Path) -> None:
    assert target.read_bytes() == b"an earlier export"
    assert [path.name for path in target.parent.iterdir()] == ["there.onnx"]


def test_a_file_that_computes_something_else_is_not_written(
    checkpoint: Checkpoint, reports: dict[str, ExportReport], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bias = checkpoint.weights["decoder.classify.bias"] + torch.linspace(-5, 5, 11)
    other = Exporter(dataclasses.replace(checkpoint, weights={**checkpoint.weights, "decoder.classify.bias": bias}))
    monkeypatch.setitem(other._writers, "onnx", lambda file: file.write(reports["onnx"].path.read_bytes()))
    with pytest.raises(ExportError) as caught:
        other.export("onnx", target)
    message = str(caught.value)
    assert message.startswith(
        "the exported file disagrees with PyTorch at batch 1: largest difference of a logit 5.00e+00, the same class on"
    )
    assert message.endswith("; nothing was written")
    assert_untouched(target)


def test_a_worse_model_is_not_written(checkpoint: Checkpoint, reports: dict[str, ExportReport], target: Path) -> None:
    """Its numbers pass, its scores do not."""
    split = find_split(checkpoint, split="train")
    strict = Exporter(checkpoint, scored_on=split, max_f1_drop=0)
    scores = strict.scores
    assert scores is not None
    strict.scores = dataclasses.replace(scores, mean_f1=scores.mean_f1 + 0.02)  # as if PyTorch were better
    strict._writers["onnx"] = lambda file: file.write(reports["onnx"].path.read_bytes())
    with pytest.raises(ExportError) as caught:
        strict.export("onnx", target)
    assert f"onnx: mean F1 {scores.mean_f1:.4f} where PyTorch has {scores.mean_f1 + 0.02:.4f}" in str(caught.value)
    assert str(caught.value).endswith("a drop of 0.0200, more than --max-f1-drop 0; nothing was written")
    assert_untouched(target)


def test_garbage_is_not_written(exporter: Exporter, target: Path, use: Use) -> None:
    use(lambda file: file.write(b"garbage"))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        exporter.export("onnx", target)
    assert_untouched(target)


def test_what_cannot_be_exported_is_one_line(exporter: Exporter, target: Path, use: Use) -> None:
    def fail(file: BinaryIO) -> None:
        raise RuntimeError("no translation\nand a page of advice")

    use(fail)
    with pytest.raises(ExportError) as caught:
        exporter.export("onnx", target)
    assert str(caught.value) == f"{exporter.checkpoint.path}: cannot be exported (no translation)"
    assert_untouched(target)


def test_a_place_that_cannot_be_written_is_said_before_the_work(exporter: Exporter, target: Path, use: Use) -> None:
    use(lambda file: pytest.fail())
    with pytest.raises(OutputError, match=f"^cannot write {target}: "):
        exporter.export("onnx", target / "best.onnx")
    assert_untouched(target)


def test_int8_wants_training_photographs(
    checkpoint: Checkpoint, own_faces: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = Exporter(checkpoint, scored_on=find_split(checkpoint, data_dir=own_faces))
    (own_faces / "train_list.txt").unlink()
    target = tmp_path_factory.mktemp("target") / "best.onnx"
    monkeypatch.setitem(exporter._writers, "onnx-int8", lambda file: pytest.fail())
    with pytest.raises(DatasetError, match=r"train_list.txt: no such list"):
        exporter.export("onnx-int8", target)
    assert not list(target.parent.iterdir())


def test_a_drop_cannot_be_judged_without_photographs(checkpoint: Checkpoint) -> None:
    with pytest.raises(SettingsError, match="--max-f1-drop needs photographs to score on"):
        Exporter(checkpoint, max_f1_drop=0.1)


def test_the_weights_are_loaded_once(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = checkpoint_file.load_model
    monkeypatch.setattr(checkpoint_file, "load_model", lambda *given: loaded.append(given) or load(*given))
    Exporter(checkpoint)
    assert len(loaded) == 1


def test_photographs_for_calibration_are_of_the_training_set_and_spread_over_it(
    checkpoint: Checkpoint, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceparse.core.export.export.CALIBRATION", 4)
    exporter = Exporter(checkpoint)
    samples = DatasetFolder(faces).samples("train")
    assert list(exporter._training_photographs()) == samples[::3]
    inputs: list[Any] = list(exporter._calibration())
    assert [one.shape for one in inputs] == [(1, 3, 64, 64)] * 4
