"""An ONNX file of `faceparse export` on NumPy arrays: all that it takes is in the file, and PyTorch is not needed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from faceparse.core.errors import CheckpointError
from faceparse.core.face_geometry import FaceGeometry, if_consistent, read_geometry
from faceparse.core.finding.windows import ANY, PictureSizes, fixed
from faceparse.core.geometry import Size
from faceparse.core.labels import LabelSet, label_set_from_dict
from faceparse.core.preprocessing import LARGEST, SMALLEST, STEP, normalise

Kind = Literal["logits", "labels"]
"""`logits`: `image` N x 3 x H x W float32, normalised -> `parsing` N x C x H x W float32.
`labels`: `image` N x H x W x 3 uint8 RGB -> `labels` N x H x W uint8."""

Sizes = Literal["any", "fixed"]
"""Of the crops that a file takes: `any` whose sides are multiples of `STEP`, or those of `input_size` alone."""

INPUT = "image"

SURE = 30.0
"""Logit of the class that a file of `labels` answers with, where the others have 0."""


def check_size(source: object, sizes: Sizes, own: Size, wanted: Size) -> None:
    """
    Raises:
        CheckpointError: an exported file, named `source`, does not take crops of the size that is wanted.
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
    """Crops and pictures -> logits and probabilities, on the CPU."""

    label_set: LabelSet
    geometry: FaceGeometry | None
    """Where faces lie in its training crops; None where nobody measured it, or they are not aligned."""
    kind: Kind
    input_size: Size
    sizes: Sizes
    _preprocessing: Mapping[str, Any]
    _session: onnxruntime.InferenceSession

    @property
    def picture_sizes(self) -> PictureSizes:
        """Of what `part_maps` takes."""
        return ANY if self.sizes == "any" else fixed(self.input_size)

    def logits(self, crops: np.ndarray) -> np.ndarray:
        """N x H x W x 3 uint8 RGB crops of `input_size` -> N x C x H x W float32."""
        return self._logits(self._answer(crops))

    def part_maps(self, pictures: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """N x H x W x 3 uint8 RGB pictures -> N x P x h x w float32 probabilities of P sets of classes, at 1/4 of the
        pictures' size.
        """
        answer = self._answer(pictures)
        # The four in the middle of each 4 x 4: one alone lies half a pixel beside.
        middle = [self._logits(answer[..., y::4, x::4]) for y in (1, 2) for x in (1, 2)]
        logits = np.mean(middle, axis=0, dtype=np.float32)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        return np.stack([likely[:, list(ids)].sum(axis=1) for ids in parts], axis=1)

    def _answer(self, crops: np.ndarray) -> np.ndarray:
        graph_input = crops if self.kind == "labels" else normalise(crops, **self._preprocessing)
        (answer,) = self._session.run(None, {INPUT: graph_input})
        return np.asarray(answer)

    def _logits(self, answer: np.ndarray) -> np.ndarray:
        if self.kind == "labels":
            answer = np.moveaxis(SURE * np.eye(len(self.label_set), dtype=np.float32)[answer], 3, 1)
        return answer


def open_onnx(path: Path, input_size: Size | None = None) -> OnnxModel:
    """
    Args:
        input_size: in place of the file's own.

    Raises:
        CheckpointError: not an ONNX file that `faceparse export` wrote, or it takes no such input size.
    """
    try:
        session = new_session(path)
    except Exception as error:  # the runtime raises errors of many kinds
        raise CheckpointError(f"{path}: cannot be run ({str(error).splitlines()[0][:160]}); export it again") from None
    metadata = session.get_modelmeta().custom_metadata_map
    if "faceparse" not in metadata:
        raise CheckpointError(f"{path}: was not written by this 'faceparse export'; export the checkpoint again")
    height, width = json.loads(metadata["input_size"])
    size, sizes = input_size or (height, width), sizes_of(metadata)
    check_size(path, sizes, (height, width), size)
    try:
        geometry = if_consistent(read_geometry(json.loads(metadata.get("geometry", "null"))))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata is of another faceparse or damaged ({error})") from None
    return OnnxModel(
        label_set=label_set_from_dict(json.loads(metadata["label_set"]), str(path)),
        geometry=geometry,
        kind="labels" if metadata["kind"] == "labels" else "logits",
        input_size=size,
        sizes=sizes,
        _preprocessing={
            "bgr": metadata["channel_order"] == "bgr",
            "mean": json.loads(metadata["mean"]),
            "std": json.loads(metadata["std"]),
        },
        _session=session,
    )


def sizes_of(metadata: Mapping[str, str]) -> Sizes:
    """Old files do not say: theirs are fixed."""
    return "any" if metadata.get("sizes") == "any" else "fixed"


def read_metadata(path: Path) -> Mapping[str, str]:
    """What an ONNX file says of itself.

    Raises:
        onnxruntime's own errors: it is none, or damaged.
    """
    return new_session(path).get_modelmeta().custom_metadata_map


def new_session(
    path: Path, *, providers: Any = ("CPUExecutionProvider",), threads: int = 0
) -> onnxruntime.InferenceSession:
    """`threads` of 0 is one for each core.

    A graph may name files for its weights. No such file is opened: ours hold all, and theirs may be a device.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Where such files would have to lie: the runtime takes none from elsewhere, and nothing lies in a file.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path))
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=list(providers))
