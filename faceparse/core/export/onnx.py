"""ONNX, verified in ONNX Runtime against PyTorch before it is put in its place."""

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import onnxruntime
import torch
from torch import Tensor

from faceparse.core.data.dataset import Normalise
from faceparse.core.datasets.faces import draw_face
from faceparse.core.errors import ExportError
from faceparse.core.files import make_folder, write_atomic_with
from faceparse.core.model.trained import ParsingLogits
from faceparse.core.model.weights import Checkpoint, load_model
from faceparse.core.settings import DataSettings

MAX_BATCH = 64
CHECKED_BATCHES = (1, 3)
TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit."""
AGREEMENT = 0.999
"""Smallest share of pixels with the same argmax."""


@dataclass(frozen=True)
class Check:
    """PyTorch and ONNX Runtime on the same batch."""

    batch: int
    difference: float
    """Largest absolute difference of a logit."""
    agreement: float
    """Share of pixels with the same argmax."""


@dataclass(frozen=True)
class ExportReport:
    path: Path
    input_size: tuple[int, int]
    classes: int
    checks: tuple[Check, ...]


def export_onnx(checkpoint: Checkpoint, path: Path, *, input_size: tuple[int, int] | None = None) -> ExportReport:
    """Write `path`: input `image` N x 3 x H x W float32 (normalised), output `parsing` N x C x H x W logits.

    The batch is dynamic (1 to 64). What a caller needs for the preprocessing stands in the file's metadata.

    Raises:
        ExportError: the network cannot be exported, or ONNX Runtime disagrees; `path` is left as it was.
        OutputError: `path` cannot be written.
    """
    make_folder(path.parent)
    size = input_size or checkpoint.settings.data.input_size
    network = ParsingLogits(load_model(checkpoint, torch.device("cpu"))).eval()
    report = ExportReport(path, size, len(checkpoint.label_set), ())

    def write_and_check(file: BinaryIO) -> None:
        nonlocal report
        temporary = Path(file.name)  # the exporter wants to open it itself
        _write(network, checkpoint, temporary, size)
        checks = tuple(
            _compare(network, temporary, _faces(batch, checkpoint.settings.data, size)) for batch in CHECKED_BATCHES
        )
        report = ExportReport(path, size, len(checkpoint.label_set), checks)

    write_atomic_with(path, write_and_check)
    return report


def metadata(checkpoint: Checkpoint, size: tuple[int, int]) -> dict[str, str]:
    """What turns a photograph into the input, and the output into classes; JSON where it is not text."""
    data = checkpoint.settings.data
    return {
        "class_names": json.dumps(checkpoint.label_set.names),
        "label_set": json.dumps(checkpoint.label_set.to_toml()),
        "channel_order": data.channel_order,
        "mean": json.dumps(data.mean),
        "std": json.dumps(data.std),
        "input_size": json.dumps(size),
        "preprocessing": "crop (see input_size), channels in channel_order, / 255, - mean, / std",
    }


def _write(network: ParsingLogits, checkpoint: Checkpoint, path: Path, size: tuple[int, int]) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the exporter prints its progress
            program = torch.onnx.export(
                network,
                (torch.zeros(2, 3, *size),),
                dynamo=True,
                input_names=["image"],
                output_names=["parsing"],
                dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}},
            )
    except Exception as error:
        raise ExportError(f"{checkpoint.path}: PyTorch could not export it ({_first_line(error)})") from error
    assert program is not None
    program.model.metadata_props.update(metadata(checkpoint, size))
    program.save(str(path), external_data=False)


def _compare(network: ParsingLogits, path: Path, images: Tensor) -> Check:
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (found,) = session.run(["parsing"], {"image": images.numpy()})
    except Exception as error:
        raise ExportError(
            f"ONNX Runtime cannot run the exported network ({_first_line(error)}); nothing was written"
        ) from error
    with torch.inference_mode():
        expected = network(images).numpy()
    if found.shape != expected.shape:
        raise ExportError(
            f"ONNX Runtime answers with shape {found.shape}, PyTorch with {expected.shape}; nothing was written"
        )
    difference = float(np.abs(found - expected).max())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if not difference <= TOLERANCE * float(np.abs(expected).max()) or agreement < AGREEMENT:
        raise ExportError(
            f"ONNX Runtime disagrees with PyTorch at batch {len(images)}: largest difference {difference:.2e}, "
            f"argmax agrees on {agreement:.3%}; nothing was written"
        )
    return Check(len(images), difference, agreement)


def _faces(count: int, settings: DataSettings, size: tuple[int, int]) -> Tensor:
    """Normalised drawn faces: closer to what the network will see than noise. N x 3 x H x W."""
    drawn = [draw_face(np.random.default_rng(index), 256).image for index in range(count)]
    images = np.stack([cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) for image in drawn])
    normalise = Normalise(settings.model_copy(update={"input_size": size}))
    return normalise(torch.from_numpy(images)).contiguous()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
