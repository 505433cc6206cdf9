"""Run an ONNX file of `faceparse export` on NumPy arrays. The file holds all it needs; PyTorch is not needed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from faceparse.core.errors import CheckpointError, first_line
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.windows import ANY, PictureSizes, fixed
from faceparse.core.images.crop import LARGEST, SMALLEST, STEP, Fit, normalise
from faceparse.core.images.warp import Size
from faceparse.core.labels.classes import Classes
from faceparse.core.runtime.kinds import InputNumbers, Kind, Sizes

INPUT = "image"

_ENDLESS = re.compile(rb"(?:\x22|\xa2\x80*\x00)(?:\x04|\x84\x80*\x00)(Loop|Scan)")
"""Such a node's op_type in a file: number and length of the field, each in one byte or, as strangers may, in more."""

SURE = 30.0
"""Logit of the answered class in a file of `labels`; the other classes have 0."""


def check_size(source: object, sizes: Sizes, own: Size, wanted: Size) -> None:
    """Check that an exported file, named `source`, takes crops of the wanted size.

    Raises:
        CheckpointError: it does not.
    """
    if wanted == own:
        return
    (height, width), (h, w) = own, wanted
    if sizes == "fixed":
        raise CheckpointError(
            f"{source}: was exported for crops of {height} x {width}; "
            "export its checkpoint again with another --input-size"
        )
    if any(side % STEP or not SMALLEST <= side <= LARGEST for side in wanted):
        raise CheckpointError(
            f"{source}: takes crops whose sides are multiples of {STEP} from {SMALLEST} to {LARGEST}, not {h} x {w}; "
            f"such as {height} x {width}"
        )


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """Crops and pictures -> logits and probabilities, on the CPU.

    logits = open_onnx(Path("best.onnx")).logits(crops)
    """

    label_set: Classes
    geometry: FaceGeometry | None
    """Where faces lie in the training crops; None where this is unknown, or where the crops are not aligned."""
    kind: Kind
    input_size: Size
    sizes: Sizes
    fit: Fit
    """How a whole photograph fills the input."""
    _batch: int | None
    _where: Path
    _input: InputNumbers
    _session: onnxruntime.InferenceSession

    @property
    def picture_sizes(self) -> PictureSizes:
        """Sizes of pictures that `part_maps` takes."""
        return ANY if self.sizes == "any" else fixed(self.input_size)

    def logits(self, crops: np.ndarray) -> np.ndarray:
        """N x H x W x 3 uint8 RGB crops of `input_size` -> N x C x H x W float32."""
        return self._logits(self._answer(crops))

    def part_maps(self, pictures: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """Probabilities of P sets of classes: N x P x h x w float32, at 1/4 of the pictures' size.

        Args:
            pictures: N x H x W x 3 uint8 RGB.
            parts: P sets of class ids.
        """
        answer = self._answer(pictures)
        # Mean of the four middle pixels of each 4 x 4: a single one lies half a pixel off the middle.
        middle = [self._logits(answer[..., y::4, x::4]) for y in (1, 2) for x in (1, 2)]
        logits = np.mean(middle, axis=0, dtype=np.float32)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        return np.stack([likely[:, list(ids)].sum(axis=1) for ids in parts], axis=1)

    def _answer(self, crops: np.ndarray) -> np.ndarray:
        if (step := self._batch) is None:
            return self._answer_to(crops)
        return np.concatenate([self._answer_to(crops[start : start + step]) for start in range(0, len(crops), step)])

    def _answer_to(self, crops: np.ndarray) -> np.ndarray:
        numbers, graph_input = self._input, crops
        if self.kind == "logits":
            graph_input = normalise(crops, bgr=numbers.channel_order == "bgr", mean=numbers.mean, std=numbers.std)
        (answer,) = run_session(self._session, self._where, graph_input)
        check_answer(self._where, self.kind, len(self.label_set), crops.shape, answer.shape, lambda: int(answer.max()))
        if self.kind == "logits" and not np.isfinite(answer.max(axis=1)).all():
            raise CheckpointError(f"{self._where}: answers with what is no number (nan or inf); export it again")
        return answer

    def _logits(self, answer: np.ndarray) -> np.ndarray:
        if self.kind == "labels":
            answer = np.moveaxis(SURE * np.eye(len(self.label_set), dtype=np.float32)[answer], 3, 1)
        return answer


def check_graph(session: onnxruntime.InferenceSession, path: Path, kind: Kind, classes: int) -> None:
    """Check that inputs and outputs of the graph are those of a file of this kind.

    Raises:
        CheckpointError: they are not.
    """
    wanted_in: tuple[int | None, ...] = (None, 3, None, None) if kind == "logits" else (None, None, None, 3)
    wanted_out = (None, classes, None, None) if kind == "logits" else (None, None, None)
    element = "tensor(float)" if kind == "logits" else "tensor(uint8)"
    inputs, outputs = session.get_inputs(), session.get_outputs()
    fits = (
        [one.name for one in inputs] == [INPUT]
        and len(outputs) == 1
        and _fits(inputs[0], element, wanted_in)
        and _fits(outputs[0], element, wanted_out)
    )
    if not fits:
        shown = "; ".join(
            f"{what} {', '.join(f'{one.name} {one.type} {one.shape}' for one in nodes)[:160]}"
            for what, nodes in (("takes", inputs), ("gives", outputs))
        )
        raise CheckpointError(
            f"{path}: its graph is not what a file of {kind} for {classes} classes has ({shown}); export it again"
        )


def _fits(node: Any, element: str, shape: Sequence[int | None]) -> bool:
    """Whether a node has this type, this rank, and these sides. A side may be a symbol, which fits every number."""
    if node.type != element or len(node.shape) != len(shape):
        return False
    sides = zip(node.shape, shape, strict=True)
    return all(not isinstance(side, int) or wanted in (None, side) for side, wanted in sides)


def check_answer(
    where: object,
    kind: Kind,
    classes: int,
    crops: Sequence[int],
    answer: Sequence[int],
    largest: Callable[[], int],
) -> None:
    """Check what a graph returned. A graph may return something else than it declares.

    Args:
        crops: shape of the input, N x H x W x 3.
        answer: shape of the output.
        largest: returns the largest label of an answer that consists of labels.

    Raises:
        CheckpointError: the shape is another one, or a label is no class.
    """
    count, height, width, _ = crops
    wanted = (count, classes, height, width) if kind == "logits" else (count, height, width)
    if tuple(answer) != wanted:
        raise CheckpointError(f"{where}: answers with shape {tuple(answer)} in place of {wanted}; export it again")
    if kind == "labels" and (found := largest()) >= classes:
        raise CheckpointError(f"{where}: answers with class {found}, of which it has {classes}; export it again")


def run_session(
    session: onnxruntime.InferenceSession, where: object, graph_input: np.ndarray, *, name: str = INPUT
) -> list[np.ndarray]:
    """Run a session on one input, and return its outputs.

    Raises:
        CheckpointError: the graph cannot be run.
    """
    try:
        return [np.asarray(answer) for answer in session.run(None, {name: graph_input})]
    except Exception as error:  # the runtime raises errors of many kinds
        raise CheckpointError(f"{where}: cannot be run ({first_line(error)}); export it again") from None


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file.

    Raises:
        CheckpointError: not an ONNX file, or a damaged one.
    """
    try:
        return new_session(path)
    except Exception as error:  # the runtime raises errors of many kinds
        raise CheckpointError(f"{path}: cannot be run ({first_line(error)}); export it again") from None


def metadata_of(session: onnxruntime.InferenceSession, path: Path) -> Mapping[str, str]:
    """Read the metadata of an open file.

    Raises:
        CheckpointError: it is not text.
    """
    try:
        return session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: its metadata is not text; export the checkpoint again") from None


def read_metadata(path: Path) -> Mapping[str, str]:
    """Read the metadata of an ONNX file.

    Raises:
        onnxruntime's own errors: not an ONNX file, or a damaged one.
    """
    return new_session(path).get_modelmeta().custom_metadata_map


def new_session(
    path: Path, *, data: bytes | None = None, providers: Any = ("CPUExecutionProvider",), threads: int = 0
) -> onnxruntime.InferenceSession:
    """Open an ONNX file, or its `data` where they are known. `threads` of 0 means one for each core.

    A graph may name other files for its weights. No such file is opened: our files hold all their weights, and a name
    may point to a device.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # The runtime takes such files from this folder only. This "folder" is a file: nothing can lie in it.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    data = path.read_bytes() if data is None else data
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the runtime's own is not looked through
    if endless := _ENDLESS.search(data):
        raise ValueError(f"its graph has a {endless[1].decode()}, which could run for ever")
    return onnxruntime.InferenceSession(data, options, providers=list(providers))
