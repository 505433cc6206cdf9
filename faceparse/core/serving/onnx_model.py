"""An ONNX file of `faceparse export` on NumPy arrays: all that it takes is in the file, and PyTorch is not needed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime

from faceparse.core.errors import CheckpointError
from faceparse.core.geometry import Size, enlarge_logits
from faceparse.core.labels import LabelSet, label_set_from_dict
from faceparse.core.preprocessing import normalise, prepare_photo

Kind = Literal["logits", "labels"]
"""`logits`: `image` N x 3 x H x W float32, normalised -> `parsing` N x C x H x W float32.
`labels`: `image` N x H x W x 3 uint8 RGB -> `labels` N x H x W uint8."""

Sizes = Literal["any", "fixed"]
"""Of the crops that a file takes: `any` whose sides are multiples of `STEP`, or those of `input_size` alone."""

INPUT = "image"

STEP, SMALLEST, LARGEST = 32, 64, 2048
"""Sides of crops, where any are taken."""


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
    """Photographs -> labels, on the CPU."""

    label_set: LabelSet
    kind: Kind
    input_size: Size
    _preprocessing: Mapping[str, Any]
    _session: onnxruntime.InferenceSession

    def parse(self, image: np.ndarray) -> np.ndarray:
        """H x W x 3 uint8 RGB -> H x W uint8 ids."""
        photo = prepare_photo(image, self.input_size)
        crops = photo.crop[None]
        graph_input = crops if self.kind == "labels" else normalise(crops, **self._preprocessing)
        (answer,) = self._session.run(None, {INPUT: graph_input})
        logits = _sure(answer[0], len(self.label_set)) if self.kind == "labels" else answer[0]
        return enlarge_logits(logits, photo.matrix, photo.size)


def _sure(ids: np.ndarray, classes: int) -> np.ndarray:
    """C x h x w float32 logits of a network that is sure of each id."""
    return np.moveaxis(np.eye(classes, dtype=np.float32)[ids], 2, 0)


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
    size = input_size or (height, width)
    check_size(path, sizes_of(metadata), (height, width), size)
    return OnnxModel(
        label_set=label_set_from_dict(json.loads(metadata["label_set"]), str(path)),
        kind="labels" if metadata["kind"] == "labels" else "logits",
        input_size=size,
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
