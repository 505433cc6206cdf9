"""Evaluation protocols: the network's input, and the space in which its prediction is compared with the truth.

| name    | network sees | truth                                  | prediction                                     |
|---------|--------------|----------------------------------------|------------------------------------------------|
| eagrnet | crop         | `labels_raw` if aligned, else `labels` | classes, inverse crop, then `project`; nearest |
| label   | crop         | `labels`                               | classes, inverse crop; nearest                 |
| farl    | crop         | `labels_raw` if aligned, else `labels` | logits, both warps as one; bilinear            |
| segface | stretched    | `labels` at 512 x 512; nearest         | logits at 512 x 512; bilinear                  |

The crop keeps the photograph's aspect, the stretched picture does not. A network that was trained on stretched
photographs sees them stretched in every protocol, and the way back is then the inverse stretch. `farl` follows FaRL
(Zheng et al., CVPR 2022): every warp has pixel centres at integer coordinates. `segface` follows SegFace (Narayan et
al., AAAI 2025): every resize aligns the pictures' outer edges (half-pixel centres, `align_corners=False`), without
antialiasing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceparse.core.datasets.layout import Sample
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files.packed import Stored
from faceparse.core.images.crop import Fit, prepare_photo, stretch
from faceparse.core.images.matrices import read_matrix
from faceparse.core.images.read_label import read_label
from faceparse.core.images.warp import Size, crop_matrix, invert, stretch_matrix, unwarp_label, warp_label
from faceparse.core.labels.label_set import nearest
from faceparse.core.machine.device import float64_device
from faceparse.core.parser.inference import classes_of
from faceparse.core.sampling.samples import check_values, read_pair

SQUARE = (512, 512)
"""Size at which `segface` counts."""

_BAND = 2**24
"""Most logits that are warped at once: 64 MiB, however large the truth."""


class Truth(NamedTuple):
    """The label that a prediction is compared with."""

    label: np.ndarray
    """Class ids, H x W uint8; 255 is ignored."""
    project: np.ndarray | None = None
    """Matrix from photograph to label, 2 x 3, for aligned faces that are scored in the original photograph."""


View = Callable[[np.ndarray, Size], np.ndarray]
"""Function of a photograph (H x W x 3 uint8) and the network's input size that returns the input, of that size."""
ReadLabel = Callable[[Stored], np.ndarray]
"""Function that reads a label file, checks its ids, and maps them to the classes that are scored."""
ReadTruth = Callable[[Sample, np.ndarray, ReadLabel], Truth]
"""Function of a sample, its label and a reader of further labels that returns the truth."""
ReadLabels = Callable[[Tensor, Size, Truth], np.ndarray]
"""Function of logits (C x h x w), the photograph's size and the truth that returns uint8 ids of the truth's size."""


@dataclass(frozen=True)
class Protocol:
    """Steps of one protocol. Protocols with the same view share the network's answer."""

    view: View
    truth: ReadTruth
    read_labels: ReadLabels


class Case(NamedTuple):
    """Data of one photograph for scoring, read from disk."""

    views: Mapping[View, np.ndarray]
    size: Size
    """Size of the photograph."""
    truths: Mapping[ReadTruth, Truth]


def read_case(
    sample: Sample,
    classes: int,
    input_size: Size,
    protocols: Iterable[Protocol],
    table: np.ndarray | None = None,
) -> Case:
    """Read each view and each truth of the protocols once.

    Args:
        classes: number of classes of the labels on disk.
        table: 256 ids by which the truth is mapped to other classes (`ClassMapping.table`).

    Raises:
        DatasetError: a file is missing, broken or does not fit the others.
    """
    image, label = read_pair(sample, classes)
    read = partial(_read_label, classes=classes, table=table)
    views = dict.fromkeys(protocol.view for protocol in protocols)
    truths = dict.fromkeys(protocol.truth for protocol in protocols)
    return Case(
        {view: view(image, input_size) for view in views},
        (label.shape[0], label.shape[1]),
        {truth: truth(sample, _mapped(label, table), read) for truth in truths},
    )


def _mapped(label: np.ndarray, table: np.ndarray | None) -> np.ndarray:
    return label if table is None else table[label]


def _read_label(path: Stored, *, classes: int, table: np.ndarray | None) -> np.ndarray:
    label = read_label(path)
    check_values(label, classes, str(path))
    return _mapped(label, table)


def resolve_protocols(given: Sequence[str]) -> list[str]:
    """Names of protocols, each once, in the given order. One text may hold several, separated by commas.

    Raises:
        SettingsError: there is no such protocol.
    """
    names = list(dict.fromkeys(name.strip() for text in given for name in text.split(",")))
    for name in names:
        if name not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise SettingsError(f"--protocol {name!r}: not one of {known}{nearest(name, PROTOCOLS)}")
    return names


# Views: the network's input.


def _crop(image: np.ndarray, size: Size) -> np.ndarray:
    return prepare_photo(image, size).crop


# Truths.


def _photograph(_sample: Sample, label: np.ndarray, _read: ReadLabel) -> Truth:
    return Truth(label)


def _original(sample: Sample, label: np.ndarray, read: ReadLabel) -> Truth:
    if not sample.project.is_file():
        return Truth(label)
    if not sample.label_raw.is_file():
        raise DatasetError(f"{sample.label_raw} is missing, but {sample.project} is there; prepare the dataset again")
    return Truth(read(sample.label_raw), read_matrix(sample.project))


def _square(_sample: Sample, label: np.ndarray, _read: ReadLabel) -> Truth:
    # Not INTER_NEAREST: it takes the pixel under the target pixel's corner, not under its centre.
    return Truth(cv2.resize(label, SQUARE[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


# Predictions in the truth's space.


FitMatrix = Callable[[Size, Size], np.ndarray]
"""Matrix from a photograph of one size to the network's input of another, 2 x 3."""


def _warp_classes(logits: Tensor, photograph: Size, truth: Truth, matrix_of: FitMatrix = crop_matrix) -> np.ndarray:
    """Class ids in the truth's space: nearest neighbour, background outside.

    The canvas between the two steps has the photograph's size: an aligned photograph that is larger than the original
    must not be cut off before it is projected.
    """
    label = classes_of(logits)
    label = unwarp_label(label, matrix_of(photograph, label.shape), photograph)
    return label if truth.project is None else warp_label(label, truth.project, truth.label.shape, border=0)


def _warp_logits(logits: Tensor, photograph: Size, truth: Truth, matrix_of: FitMatrix = crop_matrix) -> np.ndarray:
    """Class ids in the truth's space: logits are warped once, bilinear, then the largest one wins.

    Outside the crop, background gets the largest of all logits and the other classes the smallest. So neither a scale
    nor a shift of the logits moves a border.
    """
    classes, *crop = logits.shape
    matrix = matrix_of(photograph, (crop[0], crop[1]))
    if truth.project is not None:
        back = invert(truth.project)
        matrix = np.column_stack([matrix[:, :2] @ back[:, :2], matrix[:, :2] @ back[:, 2] + matrix[:, 2]])
    lowest, highest = logits.aminmax()
    outside = lowest.repeat(classes, 1, 1)
    outside[0] = highest
    inside = logits - outside  # `_sample` takes 0 outside the crop
    height, width = truth.label.shape
    step = max(1, _BAND // (classes * width))
    bands = (range(top, min(top + step, height)) for top in range(0, height, step))
    return np.concatenate([classes_of(_sample(inside, matrix, rows, width) + outside) for rows in bands])


def _sample(logits: Tensor, matrix: np.ndarray, rows: range, width: int) -> Tensor:
    """Sample logits through a target -> source matrix: C x h x w -> C x rows x width. Bilinear, 0 outside."""
    double = float64_device(logits.device)
    x = torch.arange(width, dtype=torch.float64, device=double)
    y = torch.arange(rows.start, rows.stop, dtype=torch.float64, device=double)[:, None]
    # Coordinates of `grid_sample`: -1 at the first pixel's centre, 1 at the last pixel's centre.
    sides = (logits.shape[2], logits.shape[1])
    u, v = (2 * (a * x + b * y + c) / (side - 1) - 1 for (a, b, c), side in zip(matrix.tolist(), sides, strict=True))
    grid = torch.stack([u, v], dim=-1).to(logits.dtype).to(logits.device)
    return F.grid_sample(logits[None], grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def _stretch_logits(logits: Tensor, _photograph: Size, truth: Truth) -> np.ndarray:
    square = F.interpolate(logits[None], truth.label.shape, mode="bilinear", align_corners=False)
    return classes_of(square[0])


def _stretch_back(logits: Tensor, photograph: Size, truth: Truth) -> np.ndarray:
    """`_warp_logits` of a stretched photograph. Its outermost pixels lie up to half a pixel outside the logits."""
    around = F.pad(logits[None], (1, 1, 1, 1), mode="replicate")[0]

    def matrix_of(image: Size, padded: Size) -> np.ndarray:
        return stretch_matrix(image, (padded[0] - 2, padded[1] - 2)) + [[0, 0, 1], [0, 0, 1]]

    return _warp_logits(around, photograph, truth, matrix_of)


PROTOCOLS: dict[str, Protocol] = {
    "eagrnet": Protocol(_crop, _original, _warp_classes),
    "label": Protocol(_crop, _photograph, _warp_classes),
    "farl": Protocol(_crop, _original, _warp_logits),
    "segface": Protocol(stretch, _square, _stretch_logits),
}
_OF_STRETCHED = PROTOCOLS | {
    "eagrnet": Protocol(stretch, _original, partial(_warp_classes, matrix_of=stretch_matrix)),
    "label": Protocol(stretch, _photograph, partial(_warp_classes, matrix_of=stretch_matrix)),
    "farl": Protocol(stretch, _original, _stretch_back),
}
DEFAULT = "eagrnet"


def protocol_for(name: str, fit: Fit) -> Protocol:
    """The protocol of that name, for a network whose input whole photographs fill in this way."""
    return _OF_STRETCHED[name] if fit == "stretch" else PROTOCOLS[name]
