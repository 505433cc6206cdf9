"""Files of light networks: crops of any batch and of any sides that are multiples of 32."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError
from faceparse.core.export.card import model_card
from faceparse.core.export.export import Exporter, ExportReport
from faceparse.core.export.exported import read_exported
from faceparse.core.export.formats import FORMATS
from faceparse.core.export.graph import another_size
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.model.build import build_model
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.settings import load_settings
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")
SIZES = [(160, 160), (256, 256), (224, 320)]
TOLERANCE = {"onnx-fp16": 3e-2, "onnx-int8": 0.5, "openvino-fp16": 3e-2, "openvino-int8": 0.5}
"""Largest difference of a logit, relative to the largest; 1e-4 for the others."""


@pytest.fixture(scope="module")
def make(faces: Path) -> Callable[..., Checkpoint]:
    def make(backbone: str = "mobilenet_v2", size: str = "160,160", graph: bool = False) -> Checkpoint:
        """Random weights, in memory."""
        options = {"data.root": faces, "data.input_size": size, "model.backbone": backbone, "model.graph": graph}
        settings, label_set = load_settings(options=options), get_label_set("helen")
        torch.manual_seed(0)
        weights = build_model(settings.model, len(label_set)).state_dict()
        return Checkpoint(path=Path("memory.pth"), settings=settings, label_set=label_set, weights=weights)

    return make


@pytest.fixture(scope="module")
def exporter(make: Callable[..., Checkpoint]) -> Exporter:
    return Exporter(make())


@pytest.fixture(scope="module")
def reports(exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportReport]:
    folder = tmp_path_factory.mktemp("any")
    return {name: exporter.export(name, folder / f"any{known.suffix}") for name, known in FORMATS.items()}


def crops_of(size: tuple[int, int], count: int = 2) -> Tensor:
    noise = np.random.default_rng(1).integers(0, 256, (count, *size, 3), np.uint8)
    return torch.from_numpy(noise)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_pytorchs_logits_at_any_size(
    exporter: Exporter, reports: dict[str, ExportReport], name: str, size: tuple[int, int]
) -> None:
    crops = crops_of(size)
    model = read_exported(reports[name].path, FORMATS[name])
    assert model.sizes == "any"
    network = model.network(CPU, size)
    assert network.input_size == size
    with torch.inference_mode():
        found, expected = network(crops), exporter.network(crops)
    assert found.shape == (2, 11, *size)
    assert float((found - expected).abs().max() / expected.abs().max()) < TOLERANCE.get(name, 1e-4)


def test_numbers_are_compared_at_another_size_too(reports: dict[str, ExportReport]) -> None:
    for report in reports.values():
        assert [check.batch for check in report.checks] == [1, 3, 1]
    assert another_size((160, 160)) == (192, 224)
    assert another_size((2048, 2048)) == (2016, 1984)


def test_onnx_runtime_needs_no_more_than_the_file(exporter: Exporter, reports: dict[str, ExportReport]) -> None:
    session = onnxruntime.InferenceSession(str(reports["onnx"].path), providers=["CPUExecutionProvider"])
    image = torch.randn(5, 3, 96, 64)
    (found,) = session.run(None, {"image": image.numpy()})
    with torch.inference_mode():
        expected = exporter.network.logits(image).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    assert session.get_modelmeta().custom_metadata_map["sizes"] == "any"
    assert session.get_inputs()[0].shape == ["batch", 3, "32*h", "32*w"]
    assert session.get_outputs()[0].shape == ["batch", 11, "32*h", "32*w"]


@pytest.mark.parametrize("name", ["onnx", "torchscript", "pt2"])
def test_labels_too_come_at_any_size(make: Callable[..., Checkpoint], tmp_path: Path, name: str) -> None:
    exporter = Exporter(make(), kind="labels")
    report = exporter.export(name, tmp_path / f"labels{FORMATS[name].suffix}")
    for size in SIZES:
        crops = crops_of(size)
        with torch.inference_mode():
            found = report.model.network(CPU, size)(crops).argmax(dim=1)
            expected = exporter.network(crops).argmax(dim=1)
        assert float((found == expected).float().mean()) > 0.999


def test_a_server_without_pytorch_takes_any_size(reports: dict[str, ExportReport]) -> None:
    crops = crops_of((224, 320), 1)
    path = reports["onnx"].path
    served = open_onnx(path, (224, 320))
    assert served.input_size == (224, 320)
    with torch.inference_mode():
        expected = reports["onnx"].model.network(CPU, (224, 320))(crops)
    assert np.array_equal(served.logits(crops.numpy()), expected.numpy())
    with pytest.raises(CheckpointError, match="multiples of 32"):
        open_onnx(path, (230, 320))


@pytest.mark.parametrize("size", [(161, 160), (160, 32), (160, 4096)], ids=str)
def test_a_size_that_is_none_of_those_is_refused_in_one_line(
    reports: dict[str, ExportReport], size: tuple[int, int]
) -> None:
    model = reports["onnx"].model
    with pytest.raises(CheckpointError) as caught:
        model.network(CPU, size)
    assert str(caught.value) == (
        f"{model.path}: takes crops whose sides are multiples of 32 from 64 to 2048, not {size[0]} x {size[1]}; "
        "such as 160 x 160"
    )


def test_the_papers_network_stays_at_one_size(trained: RunResult) -> None:
    exporter = Exporter(read_checkpoint(trained.best))
    assert (exporter.graph.sizes, exporter.graph.why_fixed) == ("fixed", "the paper's heads are for one size")


def test_a_size_can_be_fixed_on_demand(make: Callable[..., Checkpoint], tmp_path: Path) -> None:
    exporter = Exporter(make(), fixed_size=True)
    report = exporter.export("pt2", tmp_path / "fixed.pt2")
    assert (report.model.sizes, exporter.graph.why_fixed) == ("fixed", "")
    assert [check.batch for check in report.checks] == [1, 3]
    with pytest.raises(CheckpointError, match="was exported for crops of 160 x 160"):
        report.model.network(CPU, (192, 192))


def test_crops_that_are_no_multiples_of_32_are_fixed(make: Callable[..., Checkpoint]) -> None:
    graph = Exporter(make(size="161,160")).graph
    assert graph.sizes == "fixed"
    assert graph.why_fixed == "161 x 160 are not both multiples of 32 from 64 to 2048"


def test_a_backbone_for_one_size_is_fixed(make: Callable[..., Checkpoint]) -> None:
    """Its positions are counted for 224 x 224."""
    graph = Exporter(make("timm:hiera_tiny_224", "224,224")).graph
    assert graph.sizes == "fixed"
    assert graph.why_fixed.startswith("its backbone ")


def test_a_graph_of_edges_is_fixed(make: Callable[..., Checkpoint]) -> None:
    graph = Exporter(make(graph=True)).graph
    assert (graph.sizes, graph.why_fixed) == ("fixed", "its graph's anchors are means over cells of one size")


def test_a_window_transformer_is_fixed(make: Callable[..., Checkpoint]) -> None:
    graph = Exporter(make("timm:swin_tiny_patch4_window7_224")).graph
    assert (graph.sizes, graph.why_fixed) == ("fixed", "its backbone is a window transformer")


def test_old_files_say_no_sizes_and_are_fixed(
    reports: dict[str, ExportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = FORMATS["onnx"]
    metadata = {key: value for key, value in known.read_metadata(reports["onnx"].path).items() if key != "sizes"}
    old = replace(known, read_metadata=lambda path: metadata)
    assert read_exported(reports["onnx"].path, old).sizes == "fixed"


def test_the_model_card_says_which_sizes(reports: dict[str, ExportReport]) -> None:
    model = reports["onnx"].model
    card, fixed = (model_card(replace(model, sizes=sizes), "m.onnx", "onnx", None, None) for sizes in ("any", "fixed"))
    assert "N x 3 x H x W float32" in card
    assert "H and W are multiples of 32 from 64 to 2048; it was trained with 160 x 160." in card
    assert "N x 3 x 160 x 160 float32" in fixed
    assert "multiples" not in fixed
