"""OpenVINO's files in float32, float16 and int8: a graph in NAME.xml, and its weights in NAME.bin.

The .xml has our metadata, and the checksum of its .bin: nobody runs one of them with another's. Its reader is our own,
as far as the metadata goes, and refuses what no file of ours has.
"""

import contextlib
import hashlib
import io
import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from xml.parsers import expat

import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError, DeviceError, OutputError, ResourceError, SettingsError
from faceparse.core.export.graph import TensorFunction
from faceparse.core.export.onnx import Metadata
from faceparse.core.files.reading import read_bytes
from faceparse.core.machine.signal_stack import signal_stack_kept
from faceparse.core.telemetry import openvino_silent

if TYPE_CHECKING:
    from openvino import Model

GRAPH, WEIGHTS = ".xml", ".bin"
"""Suffixes of the file with the graph, and of the one with the weights beside it."""

Judge = Callable[[TensorFunction, Sequence[Any]], float]
"""Mean F1 of a graph on photographs."""

_OURS = "faceparse"
"""Part of the runtime information that holds our metadata."""
_SUM = "weights_sha256"
_LARGEST = 32 * 2**20
"""Most bytes of an .xml; a deep network's has 1 MiB."""
_ENDLESS = ("Loop", "TensorIterator")

STEPS = 8
"""Most rounds in which layers are put back to float32. A round scores all photographs once."""
RANKING = 8
"""Photographs by which the layers are ranked: each layer costs a pass over them."""


def must_be_installed(*packages: str) -> None:
    """Raise ResourceError if one of the packages is not installed."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ResourceError(
            f"OpenVINO's files need {' and '.join(missing)}: pip install {' '.join(missing)}, or '.[openvino]' where "
            "faceparse is cloned"
        )


def check_place(path: Path) -> None:
    """Check where a pair is to be written: nobody named the .bin, so it must not replace a file of another kind.

    Raises:
        SettingsError: the name does not end with .xml.
        OutputError: there is a .bin, and no .xml that it belongs to.
    """
    if path.suffix != GRAPH:
        raise SettingsError(
            f"--output {path}: OpenVINO's files are named NAME{GRAPH} and NAME{WEIGHTS}; end it with {GRAPH}"
        )
    beside = path.with_suffix(WEIGHTS)
    if beside.exists() and not path.exists():
        raise OutputError(
            f"cannot write {beside}: a file of that name is there without {path.name}; move it, or choose another place"
        )


class OpenvinoWriter:
    """Writes the files of one graph. The .bin is written beside the file that is given."""

    def __init__(self, write_onnx: Callable[[BinaryIO], object], metadata: Metadata) -> None:
        """Prepare to write the graph that `write_onnx` writes as ONNX in float32."""
        self._write_onnx, self._metadata = write_onnx, metadata

    def write(self, file: BinaryIO) -> None:
        """Write the graph in float32."""
        self._save(self._model, file)

    def write_fp16(self, file: BinaryIO) -> None:
        """Write the weights in float16. The processor decides what it computes in."""
        self._save(self._model, file, half=True)

    def write_int8(
        self, file: BinaryIO, calibration: Sequence[Tensor], judged: Sequence[Any], judge: Judge, max_drop: float
    ) -> None:
        """Write weights and maps in int8, by NNCF, as far as the F1 allows it.

        Where the F1 falls by more than `max_drop`, layers that cost most are put back to float32, in `STEPS` rounds at
        most.

        Args:
            calibration: inputs of the graph, by which the ranges are measured.
            judged: photographs for `judge`.
        """
        must_be_installed("nncf")
        _openvino()
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            signal_stack_kept(),
        ):
            import nncf

            nncf.set_log_level(logging.ERROR)

            def validate(compiled: Any, samples: Any) -> tuple[float, None]:
                return judge(_function(compiled), list(samples)), None

            model = nncf.quantize_with_accuracy_control(
                self._model,
                calibration_dataset=nncf.Dataset(calibration, lambda one: one.numpy()),
                validation_dataset=nncf.Dataset(judged),
                validation_fn=validate,
                max_drop=max_drop,
                drop_type=nncf.DropType.ABSOLUTE,
                subset_size=len(calibration),
                preset=nncf.QuantizationPreset.MIXED,
                advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                    max_num_iterations=STEPS, ranking_subset_size=RANKING, num_ranking_workers=1
                ),
            )
        self._save(model, file)

    @cached_property
    def _model(self) -> "Model":
        written = io.BytesIO()
        self._write_onnx(written)
        return _openvino().Core().read_model(written)

    def _save(self, model: "Model", file: BinaryIO, *, half: bool = False) -> None:
        openvino = _openvino()
        model = model.clone()
        for key, text in self._metadata.items():
            model.set_rt_info(text, [_OURS, key])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            openvino.save_model(model, path, compress_to_fp16=half)
            weights = path.with_suffix(WEIGHTS).read_bytes()
            model.set_rt_info(hashlib.sha256(weights).hexdigest(), [_OURS, _SUM])
            openvino.save_model(model, path, compress_to_fp16=half)
            file.write(path.read_bytes())
        Path(file.name).with_suffix(WEIGHTS).write_bytes(weights)


def read_openvino_metadata(path: Path) -> Metadata:
    """Read the metadata of an .xml, and check it and its .bin.

    Raises:
        CheckpointError, ValueError, expat's errors: as `_read_pair`.
    """
    return _read_pair(path)[2]


def run_openvino(path: Path, device: torch.device) -> TensorFunction:
    """Load a pair of files, and return the function that runs the graph in float32, or in int8 where it says so.

    Raises:
        CheckpointError: the .bin is missing or another's.
        DeviceError: `device` is not the CPU.
        ResourceError: OpenVINO is not installed.
    """
    must_be_installed("openvino")
    if device.type != "cpu":
        raise DeviceError(f"OpenVINO's files run on the processor here, not on {device}; use --device cpu")
    graph, weights, _ = _read_pair(path)
    core = _openvino().Core()
    with signal_stack_kept():
        compiled = core.compile_model(
            core.read_model(graph, weights),  # from memory: what was checked is what runs, and no other file is opened
            "CPU",
            # Some processors have bfloat16, and OpenVINO would take it. Its numbers would depend on the machine.
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()},
        )
    return _function(compiled)


def runs_on_gpu() -> bool:
    """Whether these files run on a GPU: they do not."""
    return False


def _openvino() -> Any:
    with openvino_silent():
        import openvino
    return openvino


def _function(compiled: Any) -> TensorFunction:
    turn = threading.Lock()  # a compiled graph answers one request at a time; finder and parser are two threads

    def run(image: Tensor) -> Tensor:
        with turn:
            (answer,) = compiled(image.numpy()).values()
        return torch.from_numpy(answer)

    return run


def _read_pair(path: Path) -> tuple[bytes, bytes, Metadata]:
    """Graph, weights, and metadata.

    Raises:
        CheckpointError: the .bin is missing, or it is another graph's.
        ValueError, expat's errors: the .xml is damaged, or has what no file of ours has.
    """
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"larger than {_LARGEST >> 20} MiB")
    graph = read_bytes(path)
    said = _Said(graph)
    beside = path.with_suffix(WEIGHTS)
    if not beside.is_file():
        raise CheckpointError(f"{beside}: is missing; copy it together with {path.name}")
    weights = read_bytes(beside)
    if _SUM in said.metadata and hashlib.sha256(weights).hexdigest() != said.metadata[_SUM]:
        raise CheckpointError(f"{beside}: is not the one of {path.name} (SHA-256 differs); copy both of them again")
    if said.end > len(weights):
        raise ValueError(f"{beside.name} has {len(weights)} bytes of {said.end}")
    return graph, weights, {key: text for key, text in said.metadata.items() if key != _SUM}


class _Said:
    """Content of an .xml: our metadata, and how many bytes of the .bin it uses.

    No entity of its own is read and no other file: it must not declare any.
    """

    def __init__(self, graph: bytes) -> None:
        self.metadata: dict[str, str] = {}
        self.end = 0
        self._place: list[str] = []
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._leave
        parser.Parse(graph, True)

    def _refuse(self, *declared: object) -> None:
        raise ValueError("it declares a document type, which no exported file does")

    def _leave(self, name: str) -> None:
        self._place.pop()

    def _start(self, name: str, values: dict[str, str]) -> None:
        if self._place[:3] == ["net", "rt_info", _OURS] and len(self._place) == 3:
            self.metadata[name] = values.get("value", "")
        elif name == "layer" and values.get("type") in _ENDLESS:
            raise ValueError(f"its graph has a {values['type']}, which could run for ever")
        elif name == "data" and "offset" in values:
            start, size = int(values["offset"]), int(values.get("size", "0"))
            if start < 0 or size < 0:
                raise ValueError("its weights begin before the file")
            self.end = max(self.end, start + size)
        self._place.append(name)
