import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from faceparse.core.errors import ExportError, OutputError
from faceparse.core.export import onnx as onnx_module
from faceparse.core.export.onnx import ExportReport, export_onnx, metadata
from faceparse.core.files import read_image
from faceparse.core.inference import Parser, load_parser
from faceparse.core.model.abn import inplace_abn_problem
from faceparse.core.model.build import build_model
from faceparse.core.model.trained import ParsingLogits
from faceparse.core.model.weights import Checkpoint, load_model, read_checkpoint
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")


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
def report(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_onnx(checkpoint, tmp_path_factory.mktemp("export") / "new" / "best.onnx")


@pytest.fixture(scope="module")
def session(report: ExportReport) -> Any:
    return onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnx_runtime_answers_like_pytorch_at_any_batch(checkpoint: Checkpoint, session: Any, batch: int) -> None:
    image = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(batch))
    with torch.inference_mode():
        expected = ParsingLogits(load_model(checkpoint, CPU))(image).numpy()
    (found,) = session.run(["parsing"], {"image": image.numpy()})
    assert found.shape == (batch, 11, 64, 64)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.ptp(expected) > 0.1


@pytest.mark.skipif(inplace_abn_problem() is not None, reason=str(inplace_abn_problem()))
def test_onnx_runtime_answers_like_the_in_place_network(checkpoint: Checkpoint, session: Any) -> None:
    in_place = build_model(checkpoint.settings.model, 11)
    assert type(in_place.pyramid.fuse.norm).__name__ == "InPlaceABNSync"
    in_place.load_state_dict(dict(checkpoint.weights))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        expected = ParsingLogits(in_place.eval())(image).numpy()
    (found,) = session.run(["parsing"], {"image": image.numpy()})
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


def test_the_file_is_all_there_is(report: ExportReport) -> None:
    assert [path.name for path in report.path.parent.iterdir()] == ["best.onnx"]
    onnx.checker.check_model(str(report.path), full_check=True)


def test_the_batch_is_dynamic_and_nothing_else(session: Any) -> None:
    (image,), (parsing,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(float)", [3, 64, 64])
    assert (parsing.name, parsing.type, parsing.shape[1:]) == ("parsing", "tensor(float)", [11, 64, 64])
    assert image.shape[0] == parsing.shape[0] == "batch"


def test_the_metadata_turns_a_photograph_into_classes(checkpoint: Checkpoint, session: Any, faces: Path) -> None:
    stored = session.get_modelmeta().custom_metadata_map
    names = json.loads(stored["class_names"])
    assert names == list(checkpoint.label_set.names)
    assert (stored["channel_order"], json.loads(stored["input_size"])) == ("rgb", [64, 64])
    assert json.loads(stored["label_set"])["classes"]["skin"] == "#e9b08c"
    crop = read_image(next((faces / "images").iterdir()))[:64, :64]
    # As someone without faceparse would do it.
    normal = (crop / 255.0 - json.loads(stored["mean"])) / json.loads(stored["std"])
    (logits,) = session.run(None, {"image": normal.transpose(2, 0, 1)[None].astype(np.float32)})
    expected = load_parser(checkpoint, CPU).logits(torch.from_numpy(crop).unsqueeze(0)).numpy()
    assert np.abs(logits - expected).max() <= 1e-3 * np.abs(expected).max()
    assert logits.shape[1] == len(names)


def test_the_metadata_says_the_channel_order_of_released_checkpoints(checkpoint: Checkpoint) -> None:
    changes = {"channel_order": "bgr", "mean": (0.1, 0.2, 0.3)}
    data = checkpoint.settings.data.model_copy(update=changes)
    other = dataclasses.replace(checkpoint, settings=checkpoint.settings.model_copy(update={"data": data}))
    found = metadata(other, (96, 80))
    assert (found["channel_order"], found["mean"], found["input_size"]) == ("bgr", "[0.1, 0.2, 0.3]", "[96, 80]")
    assert all(isinstance(value, str) for value in found.values())


def test_the_report_says_what_was_compared(report: ExportReport) -> None:
    assert (report.input_size, report.classes) == ((64, 64), 11)
    assert [check.batch for check in report.checks] == [1, 3]
    assert all(check.agreement > 0.999 and check.difference < 1e-3 for check in report.checks)


# Failures; making the file takes seconds, so a file that was made before stands in for it.


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "there.onnx"
    path.write_bytes(b"an earlier export")
    return path


def assert_untouched(target: Path) -> None:
    assert target.read_bytes() == b"an earlier export"
    assert [path.name for path in target.parent.iterdir()] == ["there.onnx"]


def use(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setattr(onnx_module, "_write", lambda network, checkpoint, path, size: shutil.copy(source, path))


def test_a_network_that_onnx_runtime_computes_otherwise_is_not_written(
    checkpoint: Checkpoint, report: ExportReport, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, report.path)
    bias = checkpoint.weights["decoder.classify.bias"] + torch.linspace(-5, 5, 11)
    other = dataclasses.replace(checkpoint, weights={**checkpoint.weights, "decoder.classify.bias": bias})
    with pytest.raises(ExportError) as caught:
        export_onnx(other, target)
    message = str(caught.value)
    assert message.startswith("ONNX Runtime disagrees with PyTorch at batch 1: largest difference 5.00e+00, argmax ")
    assert message.endswith("; nothing was written")
    assert_untouched(target)
    export_onnx(checkpoint, target)  # the same file for the network it was made from
    assert target.read_bytes() == report.path.read_bytes()


def test_two_answers_of_nan_do_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = torch.full((1, 2, 4, 4), torch.nan)

    class Session:
        def __init__(self, *_: object, **__: object) -> None: ...

        def run(self, *_: object) -> list[np.ndarray]:
            return [answer.numpy()]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(ExportError, match="disagrees with PyTorch at batch 1: largest difference nan"):
        onnx_module._compare(lambda image: answer, tmp_path, torch.zeros(1, 3, 4, 4))  # type: ignore[arg-type]


def test_other_shapes_do_not_agree(tmp_path: Path, checkpoint: Checkpoint, report: ExportReport) -> None:
    def network(image: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(image), 11, 1, 1)

    with pytest.raises(ExportError) as caught:
        onnx_module._compare(network, report.path, torch.zeros(1, 3, 64, 64))  # type: ignore[arg-type]
    expected = "ONNX Runtime answers with shape (1, 11, 64, 64), PyTorch with (1, 11, 1, 1); nothing was written"
    assert str(caught.value) == expected


def test_a_file_that_onnx_runtime_cannot_run_is_not_written(
    checkpoint: Checkpoint, target: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = tmp_path_factory.mktemp("garbage") / "garbage.onnx"
    garbage.write_bytes(b"garbage")
    use(monkeypatch, garbage)
    with pytest.raises(ExportError) as caught:
        export_onnx(checkpoint, target)
    assert str(caught.value).startswith("ONNX Runtime cannot run the exported network (")
    assert "\n" not in str(caught.value)
    assert_untouched(target)


def test_another_crop_than_was_exported_is_noticed(
    checkpoint: Checkpoint, report: ExportReport, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, report.path)
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot run the exported network "):
        export_onnx(checkpoint, target, input_size=(96, 80))
    assert_untouched(target)


def test_what_pytorch_cannot_export_is_one_line(
    checkpoint: Checkpoint, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no translation\nand a page of advice")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError) as caught:
        export_onnx(checkpoint, target)
    assert str(caught.value) == f"{checkpoint.path}: PyTorch could not export it (no translation)"
    assert_untouched(target)


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    checkpoint: Checkpoint, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_module, "_write", pytest.fail)
    with pytest.raises(OutputError, match=f"^cannot write {target}: "):
        export_onnx(checkpoint, target / "best.onnx")
    assert_untouched(target)


def test_the_exported_network_is_the_parsers(checkpoint: Checkpoint, session: Any, faces: Path) -> None:
    """From photograph to classes by both ways."""
    parser: Parser = load_parser(checkpoint, CPU)
    crops = np.stack([read_image(path)[:64, :64] for path in sorted((faces / "images").iterdir())[:3]])
    image = parser.network.normalise(torch.from_numpy(crops)).contiguous().numpy()
    (logits,) = session.run(None, {"image": image})
    assert (logits.argmax(axis=1) == parser.parse_crops(torch.from_numpy(crops))).mean() > 0.999
