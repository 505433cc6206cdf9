"""Bundles of foreign files answer as those files do, by a slow computation that shares nothing with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

import faceparse
from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import CheckpointError, ExportError, OutputError, SettingsError
from faceparse.core.export.bundle import read_bundle
from faceparse.core.foreign import import_model
from faceparse.core.foreign.compose import compose
from faceparse.core.foreign.foreign_description import Description, Output
from faceparse.core.foreign.foreign_file import ForeignFile, read_foreign
from faceparse.core.foreign.import_model import Importer, ImportReport
from faceparse.core.images.encoding import encode_png
from faceparse.core.load import load_model_from
from faceparse.core.parser.inference import load_parser
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.scoring.protocols import PROTOCOLS
from faceparse.core.scoring.score_model import plan_evaluations, score_checkpoint
from faceparse.core.scoring.split import find_split
from faceparse.core.serving.answers import answer
from tests.core.foreign import slow
from tests.core.foreign.networks import CELEBA, BiSeNet, describe, export_onnx, lively, save, small_model
from tests.core.foreign.painted_faces import colour_reader, painted_dataset

CPU = torch.device("cpu")
PERMUTED = tuple(np.random.default_rng(2).permutation(CELEBA.names).tolist())


def imported(path: Path, description: Description) -> ImportReport:
    return Importer(read_foreign(path), description).write(path.with_suffix(".bundle"))


def photograph(size: tuple[int, int]) -> np.ndarray:
    side = max(size)
    return np.ascontiguousarray(draw_face(np.random.default_rng(4), side).image[: size[0], : size[1]])


def agrees(path: Path, description: Description, bundle: Path, output: int = 0, tolerance: float = 2e-4) -> None:
    """The bundle's labels of a photograph are those of the file. Its sides are twice and half the input's."""
    height, width = description.input.size
    picture = photograph((2 * height, width // 2))
    stretched = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    exact = slow.resize(picture.transpose(2, 0, 1), (height, width)).transpose(1, 2, 0)
    assert np.abs(stretched - exact).max() <= 1.5  # OpenCV computes whole numbers, and rounds twice
    logits = slow.logits_of(path, description, stretched, output)
    expected = slow.resize(logits, picture.shape[:2]).argmax(axis=0)
    found = faceparse.load(bundle, device="cpu").predict(picture, faces="none")
    assert len(np.unique(expected)) > 2  # a network that answers with one class would agree with anything
    assert (found.labels == expected).mean() > 0.999
    served = open_onnx(bundle / "model.onnx").logits(stretched[None])[0]
    np.testing.assert_allclose(served, logits, atol=tolerance * np.abs(logits).max())
    (reply,) = answer(open_onnx(bundle / "model.onnx"), [encode_png(picture)])
    assert reply["areas"] == found.areas()


def test_bisenet_in_its_own_class_order(tmp_path: Path) -> None:
    path = tmp_path / "bisenet.onnx"
    export_onnx(lively(BiSeNet()), path, (64, 64), outputs=("out", "out16", "out32"))
    description = describe((64, 64), classes=PERMUTED)
    report = imported(path, description)
    agrees(path, description, report.path)
    assert (report.note, report.model.largest_batch) == ("", None)
    names = [one.name for one in onnx.load(report.path / "model.onnx").graph.initializer]
    assert not [name for name in names if "heads.1" in name or "heads.2" in name]  # auxiliary heads cost no time
    second = describe((64, 64), classes=PERMUTED, output=Output(name="out16", values="logits", stride=1))
    assert "'out' fits, too, and stands before it" in Importer(read_foreign(path), second).note


def test_segformer_at_a_quarter_of_the_size(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    import transformers

    config = transformers.SegformerConfig(
        num_labels=19, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
    )  # fmt: skip

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = transformers.SegformerForSemanticSegmentation(config)

        def forward(self, pixel_values: Tensor) -> Tensor:
            return self.network(pixel_values=pixel_values).logits

    path = tmp_path / "segformer.onnx"
    export_onnx(lively(Logits()), path, (64, 128), inputs=("pixel_values",), outputs=("logits",))
    output = Output(name="logits", values="logits", stride=4)
    description = describe((64, 128), output=output, name="pixel_values")
    agrees(path, description, imported(path, description).path)


@pytest.mark.parametrize("values", ["logits", "probabilities", "ids"])
@pytest.mark.parametrize("opset", [11, 13, 17])
def test_outputs_of_each_kind(tmp_path: Path, values: Any, opset: int) -> None:
    path = save(small_model(values=values, opset=opset), tmp_path / "small.onnx")
    description = describe((64, 96), classes=PERMUTED, output=Output(position=1, values=values, stride=4))
    agrees(path, description, imported(path, description).path)


def test_other_pictures_than_imagenets(tmp_path: Path) -> None:
    """BGR, 0 to 255, float16; and names that faceparse's own graphs have."""
    model = small_model(kind=onnx.TensorProto.FLOAT16, input_name="image", outputs=("aux", "parsing"))
    path = save(model, tmp_path / "small.onnx")
    picture = {"channel_order": "bgr", "scale": 255.0, "mean": (104.0, 117.0, 123.0), "std": (58.0, 57.0, 56.0)}
    description = describe((64, 96), output=Output(name="parsing", values="logits", stride=4), **picture)
    agrees(path, description, imported(path, description).path, output=1, tolerance=3e-3)


@pytest.mark.parametrize("declared", [1, "n"])
def test_a_graph_for_one_picture_gets_them_one_by_one(tmp_path: Path, declared: int | str) -> None:
    """One says so; the other declares any number and has a shape with a 1 inside."""
    model = small_model(batch=declared)
    model.graph.node[0].output[0] = "inner"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 19, 16, 24], np.int64), "shape"))
    model.graph.node.append(helper.make_node("Reshape", ["inner", "shape"], ["output"]))
    path = save(model, tmp_path / "one.onnx")
    report = imported(path, describe((64, 96), output=Output(position=1, values="logits", stride=4)))
    assert (report.model.largest_batch, [check.batch for check in report.checks]) == (1, [1, 3])
    pictures = [photograph((64, 96)), 255 - photograph((64, 96))]
    parser = faceparse.load(report.path, device="cpu")
    for together, alone in zip(parser.predict_batch(pictures), map(parser.predict, pictures), strict=True):
        assert np.array_equal(together.labels, alone.labels)
    served = open_onnx(report.path / "model.onnx").logits(np.stack(pictures))
    assert np.array_equal(served[1], open_onnx(report.path / "model.onnx").logits(pictures[1][None])[0])


def test_an_id_that_is_no_class_is_not_background(tmp_path: Path) -> None:
    """It shows only in a picture that was not looked at before: the runtime stops there."""
    model = small_model(values="ids")
    (conv, _) = model.graph.node
    kernel = np.zeros((20, 3, 4, 4), np.float32)
    kernel[19] = np.array([-250, 250, -250])[:, None, None]  # class 19 where the picture is as green as it can be
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(kernel, conv.input[1]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0] + [-9] * 18 + [-3990], np.float32), "bias"))
    conv.input.append("bias")
    path = save(model, tmp_path / "ids.onnx")
    description = describe(
        (64, 96), output=Output(position=1, values="ids", stride=4), scale=1.0, mean=(0, 0, 0), std=(1, 1, 1)
    )
    parser = faceparse.load(imported(path, description).path, device="cpu")
    assert parser.predict(np.zeros((64, 96, 3), np.uint8)).areas() == {"background": 64 * 96}
    with pytest.raises(CheckpointError, match="cannot be run"):
        parser.predict(np.full((64, 96, 3), (0, 255, 0), np.uint8))


@pytest.fixture
def colours(tmp_path: Path) -> Callable[..., Path]:
    def make(**options: Any) -> Path:
        path = save(colour_reader((64, 96)), tmp_path / "colours.onnx")
        return imported(path, describe((64, 96), **options)).path

    return make


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_every_protocol_sees_photographs_as_the_network_was_trained(
    tmp_path: Path, colours: Callable[..., Path], fit: str
) -> None:
    """Stretched to the input and back, blocks of colours lie where they were, to the border's last pixel."""
    data = painted_dataset(tmp_path / "data")
    model = load_model_from(colours(fit=fit))
    (plan,) = plan_evaluations([model], data_dir=data, protocols=list(PROTOCOLS))
    evaluation = score_checkpoint(plan, device=CPU, resamples=0, worst=1)
    accuracy = {name: scores.pixel_accuracy for name, scores in evaluation.scores.items()}
    assert min(accuracy.values()) > {"stretch": 0.9, "crop": 0.6}[fit], accuracy
    confusion = evaluation.summaries["farl"].counts.confusion
    parser = load_parser(model, CPU)
    for sample, counts in zip(plan.split.samples, confusion, strict=True):
        labels = faceparse.load(model.path.parent, device="cpu").predict(sample.image, faces="none").labels
        different = np.abs(np.bincount(labels.ravel(), minlength=19) - counts.sum(axis=0)).sum()
        assert different <= {"stretch": 0, "crop": 0.02 * labels.size}[fit]
    assert parser.fit == fit


def test_a_dataset_has_to_be_named(colours: Callable[..., Path]) -> None:
    with pytest.raises(SettingsError, match="was not trained by faceparse; name the dataset with --data-dir"):
        find_split(load_model_from(colours()))


def test_the_bundle_claims_nothing_of_ours(colours: Callable[..., Path], tmp_path: Path) -> None:
    bundle = colours()
    model = read_bundle(bundle)
    assert model.foreign is not None
    assert (model.foreign.file, model.foreign.output) == ("colours.onnx", "output")
    assert model.foreign.sha256 == read_foreign(tmp_path / "colours.onnx").sha256
    assert (model.geometry, model.epoch, model.trained_on) == (None, None, None)
    metadata = {entry.key: entry.value for entry in onnx.load(bundle / "model.onnx").metadata_props}
    settings = json.loads(metadata["settings"])
    assert settings.keys() == {"data"}
    assert settings["data"].keys() == {"input_size", "channel_order", "mean", "std"}
    assert not (bundle / "settings.toml").exists()
    config = json.loads((bundle / "config.json").read_text())
    assert "settings" not in config
    assert config["foreign"]["file"] == "colours.onnx"
    assert config["preprocessing"]["fit"] == "stretch"
    card = (bundle / "README.md").read_text()
    assert not [word for word in ("EAGR", "resnet101", "Helen", "settings.toml") if word in card]
    assert "stretched to 64 x 96" in card
    assert model.foreign.sha256 in card


def test_a_bundle_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(small_model(), tmp_path / "small.onnx")
    description = describe((64, 96), classes=PERMUTED, output=Output(position=1, values="logits", stride=4))

    def wrong(file: ForeignFile, told: Description, *names: str) -> onnx.ModelProto:
        return compose(file, told.model_copy(update={"classes": CELEBA.names}), *names)

    monkeypatch.setattr(import_model, "compose", wrong)
    with pytest.raises(ExportError, match=r"disagrees with .*small.onnx at batch 1: .*; nothing was written"):
        imported(path, description)
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_folder_of_other_files_stays(tmp_path: Path) -> None:
    path = save(small_model(), tmp_path / "small.onnx")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"1")
    importer = Importer(read_foreign(path), describe((64, 96), output=Output(position=1, values="logits", stride=4)))
    with pytest.raises(OutputError, match="it holds other files"):
        importer.write(tmp_path / "mine")
    assert (tmp_path / "mine" / "photo.jpg").read_bytes() == b"1"
