"""OpenVINO's pairs of files: what they compute, and what is refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError, DeviceError, OutputError, ResourceError, SettingsError
from faceparse.core.export import openvino as ours
from faceparse.core.export.formats import resolve_formats
from faceparse.core.export.graph import Graph, TensorFunction
from faceparse.core.export.onnx import OnnxWriter
from faceparse.core.export.openvino import OpenvinoWriter, check_place, read_openvino_metadata, run_openvino

CPU = torch.device("cpu")
METADATA = {"kind": "logits", "note": 'ä "quoted" <&>\n\ttext', "numbers": "[1.5, null]"}


@pytest.fixture(scope="module")
def installed() -> None:
    for package in ("openvino", "nncf"):
        pytest.importorskip(package, reason="the extra 'openvino' is not installed")


@pytest.fixture(scope="module")
def pair(installed: None, graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Any], Path]:
    writer = OpenvinoWriter(OnnxWriter(graph, METADATA).write, METADATA)
    folder = tmp_path_factory.mktemp("openvino")

    def write(name: str, *given: Any) -> Path:
        path = folder / f"{name}.xml"
        if not path.exists():
            with path.open("wb") as file:
                method: Callable[..., None] = getattr(writer, name.split(".")[0])
                method(file, *given)
        return path

    return write


@pytest.fixture
def own(pair: Callable[..., Path], tmp_path: Path) -> Path:
    """A pair to be spoilt."""
    path = pair("write")
    for suffix in (".xml", ".bin"):
        (tmp_path / f"own{suffix}").write_bytes(path.with_suffix(suffix).read_bytes())
    return tmp_path / "own.xml"


@pytest.mark.parametrize(("name", "largest"), [("write", 1e-5), ("write_fp16", 2e-2)])
def test_each_precision_answers_like_pytorch_at_any_batch(
    graph: Graph, images: Tensor, pair: Callable[..., Path], name: str, largest: float
) -> None:
    run = run_openvino(pair(name), CPU)
    for batch in (1, 2, 5):
        with torch.inference_mode():
            expected = graph.module(images[:batch])
        found = run(images[:batch])
        assert (found.shape, found.dtype) == ((batch, 5, 24, 32), torch.float32)
        difference = float((found - expected).abs().max() / expected.abs().max())
        assert difference <= largest
        assert (difference > 1e-4) == (name != "write")  # else nothing was made smaller


def test_the_metadata_comes_back_and_names_the_weights(pair: Callable[..., Path]) -> None:
    path = pair("write")
    assert read_openvino_metadata(path) == METADATA
    weights = path.with_suffix(".bin").read_bytes()
    assert hashlib.sha256(weights).hexdigest().encode() in path.read_bytes()
    assert len(pair("write_fp16").with_suffix(".bin").read_bytes()) < 0.7 * len(weights)


def test_openvinos_own_reader_takes_the_pair(pair: Callable[..., Path], graph: Graph, images: Tensor) -> None:
    """With nothing but OpenVINO, by the name of the file."""
    import openvino

    model = openvino.Core().compile_model(pair("write"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (found,) = model(images.numpy()).values()
    with torch.inference_mode():
        assert abs(found - graph.module(images).numpy()).max() < 1e-4
    assert [one.any_name for one in (*model.inputs, *model.outputs)] == ["image", "parsing"]


def test_int8_keeps_layers_whose_loss_is_too_large(graph: Graph, images: Tensor, pair: Callable[..., Path]) -> None:
    """The judge sees how far a graph is from PyTorch."""
    with torch.inference_mode():
        expected = graph.module(images)

    def far(run: TensorFunction) -> float:
        return float((run(images) - expected).abs().max() / expected.abs().max())

    seen: list[int] = []

    def judge(run: TensorFunction, samples: Any) -> float:
        seen.append(len(samples))
        return 1 - far(run)

    calibration = [image.unsqueeze(0) for image in images]
    loose = run_openvino(pair("write_int8.loose", calibration, [0, 1, 2], judge, 1.0), CPU)
    strict = run_openvino(pair("write_int8.strict", calibration, [0, 1, 2], judge, 1e-4), CPU)
    assert 1e-4 < far(loose) < 0.1
    assert far(strict) <= 1e-4
    assert max(seen) == 3


def test_a_missing_bin_is_named(own: Path) -> None:
    own.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError) as caught:
        read_openvino_metadata(own)
    assert str(caught.value) == f"{own.with_suffix('.bin')}: is missing; copy it together with own.xml"


@pytest.mark.parametrize("spoil", [lambda data: data[:-4], lambda data: data + b"x", lambda data: bytes(len(data))])
def test_a_bin_that_is_cut_or_anothers_is_refused(own: Path, spoil: Callable[[bytes], bytes]) -> None:
    weights = own.with_suffix(".bin")
    weights.write_bytes(spoil(weights.read_bytes()))
    for use in (read_openvino_metadata, lambda path: run_openvino(path, CPU)):
        with pytest.raises(CheckpointError) as caught:
            use(own)
        assert str(caught.value) == f"{weights}: is not the one of own.xml (SHA-256 differs); copy both of them again"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<net", b'<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net', "declares a document type"),
        (b'type="Convolution"', b'type="Loop"', "has a Loop, which could run for ever"),
        (b'offset="0"', b'offset="-8"', "its weights begin before the file"),
        (b'offset="0"', b'offset="99999999"', "own.bin has "),
        (b'offset="0"', b'offset="x"', "invalid literal"),
        (b"</net>", b"", "no element found"),
    ],
)
def test_an_xml_with_what_no_file_of_ours_has_is_refused(own: Path, old: bytes, new: bytes, reason: str) -> None:
    content = own.read_bytes()
    assert old in content
    own.write_bytes(content.replace(old, new))
    for use in (read_openvino_metadata, lambda path: run_openvino(path, CPU)):
        with pytest.raises(Exception, match=reason):
            use(own)


def test_a_bin_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "best.bin").write_bytes(b"anything")
    with pytest.raises(OutputError) as caught:
        check_place(tmp_path / "best.xml")
    assert str(caught.value) == (
        f"cannot write {tmp_path}/best.bin: a file of that name is there without best.xml; move it, or choose another "
        "place"
    )
    (tmp_path / "best.xml").touch()  # its own, of an earlier export
    check_place(tmp_path / "best.xml")


@pytest.mark.parametrize("name", ["best.bin", "best", "best.onnx"])
def test_another_ending_is_refused(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_place(Path(name))
    assert str(caught.value) == (f"--output {name}: OpenVINO's files are named NAME.xml and NAME.bin; end it with .xml")


def test_a_gpu_is_refused(own: Path) -> None:
    with pytest.raises(DeviceError, match="^OpenVINO's files run on the processor here, not on cuda:0; use"):
        run_openvino(own, torch.device("cuda", 0))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    for use in (lambda: resolve_formats("openvino-int8"), lambda: run_openvino(tmp_path / "x.xml", CPU)):
        with pytest.raises(ResourceError, match="^OpenVINO's files need openvino") as caught:
            use()
        assert "pip install openvino" in str(caught.value)
    assert resolve_formats("onnx") == ["onnx"]
