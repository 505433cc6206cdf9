"""A foreign file as its authors run it: the file itself in ONNX Runtime, and everything around it in NumPy.

What is verified against it shares no code with it: not the steps before the graph, and not those behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError, first_line
from faceparse.core.foreign.foreign_description import Description
from faceparse.core.foreign.foreign_file import ForeignFile
from faceparse.core.images.warp import Size
from faceparse.core.runtime.onnx_model import SURE, new_session

FLOATS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


@dataclass(frozen=True, eq=False)
class BareFile:
    """The file in ONNX Runtime, and where its input fits the description.

    logits = BareFile.open(file, description).logits(crops, "output")
    """

    file: ForeignFile
    description: Description
    input_name: str
    single: bool
    """Whether it takes one picture at a time."""
    _session: onnxruntime.InferenceSession
    _type: type[np.floating[Any]]

    @classmethod
    def open(cls, file: ForeignFile, description: Description) -> "BareFile":
        """Open the file, and check its input.

        Raises:
            CheckpointError: it cannot be run, or its input is another one than described.
        """
        path = file.path
        try:
            session = new_session(path, data=file.model.SerializeToString(), threads=torch.get_num_threads())
        except Exception as error:  # the runtime raises errors of many kinds
            raise CheckpointError(f"{path}: cannot be run ({first_line(error)}); export it again") from None
        inputs = session.get_inputs()
        names, wanted = [one.name for one in inputs], description.input.name
        if wanted is not None and wanted not in names:
            raise CheckpointError(f"{path}: has no input {wanted!r}; its inputs: {_listed(names)}")
        if len(inputs) != 1:
            raise CheckpointError(f"{path}: takes {len(inputs)} inputs ({_listed(names)}); a network takes one picture")
        (source,) = inputs
        if source.type not in FLOATS:
            raise CheckpointError(
                f"{path}: its input {source.name!r} takes {source.type}, not floats; export the network without its "
                "preprocessing"
            )
        _check_shape(file, description, source.name, source.shape)
        return cls(file, description, source.name, source.shape[0] == 1, session, FLOATS[source.type])

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the order of the file."""
        return [one.name for one in self._session.get_outputs()]

    def answers(self, crops: np.ndarray) -> Mapping[str, np.ndarray]:
        """Run all crops (N x H x W x 3 uint8 RGB) at once: output -> its numbers.

        Raises:
            CheckpointError: it cannot be run.
        """
        picture = self.description.input
        channels = crops[..., ::-1] if picture.channel_order == "bgr" else crops
        pixels = channels.astype(np.float64) * (picture.scale / 255)
        image: np.ndarray = ((pixels - picture.mean) / picture.std).transpose(0, 3, 1, 2).astype(self._type)
        try:
            answers = self._session.run(None, {self.input_name: np.ascontiguousarray(image)})
        except Exception as error:  # the runtime raises errors of many kinds
            raise CheckpointError(f"{self.file.path}: cannot be run ({first_line(error)}); export it again") from None
        return dict(zip(self.output_names, map(np.asarray, answers), strict=True))

    def logits(self, crops: np.ndarray, output: str) -> np.ndarray:
        """N x H x W x 3 uint8 RGB crops -> N x C x H x W float32 logits, in the label set's order. One run a crop."""
        return np.stack([self._read(self.answers(crop[None])[output][0]) for crop in crops])

    def reference(self, output: str) -> "_Reference":
        """The same as a network."""
        return _Reference(self, output)

    def _read(self, answer: np.ndarray) -> np.ndarray:
        """One answer of the output -> C x H x W float32."""
        description, (height, width) = self.description, self.description.input.size
        if description.output.values == "ids":
            stride = description.output.stride
            ids = answer.reshape(description.cells).repeat(stride, axis=0).repeat(stride, axis=1)
            return np.stack([SURE * (ids == channel) for channel in description.channels]).astype(np.float32)
        planes = [answer[channel].astype(np.float32) for channel in description.channels]
        large = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in planes])
        if description.output.values == "probabilities":
            return np.log(np.maximum(large, np.finfo(np.float32).tiny))
        return large


class _Reference:
    def __init__(self, bare: BareFile, output: str) -> None:
        self.input_size: Size = bare.description.input.size
        self._bare, self._output = bare, output

    def __call__(self, crops: Tensor) -> Tensor:
        return torch.from_numpy(self._bare.logits(crops.numpy(), self._output))


def _check_shape(file: ForeignFile, description: Description, name: str, shape: list[object]) -> None:
    height, width = description.input.size
    shown = " x ".join(str(side) if isinstance(side, int) else "N" for side in shape)
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise CheckpointError(
            f"{file.path}: its input {name!r} takes {shown}, not N x 3 x H x W; export it with the channels before "
            "the sides"
        )
    for side, wanted in zip(shape[2:], description.input.size, strict=True):
        if isinstance(side, int) and side != wanted:
            raise CheckpointError(
                f"{file.path}: its input {name!r} takes {shown}, the description says {height} x {width} (input.size)"
            )
    if isinstance(shape[0], int) and shape[0] != 1:
        raise CheckpointError(
            f"{file.path}: takes {shape[0]} pictures at a time, no more and no fewer; export it for one, or for any "
            "number"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names)[:200]
