"""An ONNX file that replaces BiSeNet's in programs written for it: their input, their output, their classes.

Such a program stretches a photograph to 512 x 512, takes RGB / 255 minus ImageNet's mean, divided by its std, and looks
for the largest of 19 logits in the first output. BiSeNet has two more outputs, which only its training needs.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceparse import __version__
from faceparse.core.errors import ExportError, SettingsError, first_line
from faceparse.core.export.export import Exporter
from faceparse.core.export.graph import Graph
from faceparse.core.export.onnx import Metadata, OnnxWriter
from faceparse.core.export.verify import drawn_crops
from faceparse.core.files.writing import make_folder, write_atomic_with
from faceparse.core.images.crop import normalise
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runtime.metadata import LAYOUT
from faceparse.core.runtime.onnx_model import new_session, run_session
from faceparse.core.scoring.scores import Scores
from faceparse.core.settings import DataSettings

BISENET = "bisenet"
ENDING = "-bisenet.onnx"
INPUT, OUTPUT = "input", "output"
SIZE: Size = (512, 512)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

CLASSES = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r"),
    *("nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
"""Names in the order of the output's channels; sides are the person's own."""

ABSENT = -1e4
"""Logit of a class that the model does not have. Half precision holds it, too."""

AGREEMENT = 0.99
"""Smallest accepted share of pixels with the class that faceparse gives them."""
_PICTURES = 4


@dataclass(frozen=True)
class BisenetReport:
    """The written file, and what was compared."""

    path: Path
    size: int
    """Bytes."""
    agreement: float
    """Share of pixels of drawn faces that get the class that faceparse gives them."""
    difference: ClassVar[None] = None
    """Logits are not compared: of the classes that the model does not have, there is none."""
    absent: tuple[str, ...]
    """Classes that the model does not have."""
    scores: Scores | None
    """Scores on the dataset; None without one."""

    @property
    def shapes(self) -> str:
        """Input and output of the graph, and what the output lacks, for people."""
        (height, width), absent = SIZE, f"; without {', '.join(self.absent)}" if self.absent else ""
        return f"input N x 3 x {height} x {width} -> output N x {len(CLASSES)} x {height} x {width}{absent}"


def check_layout(layout: str | None, formats: Sequence[str], others: Mapping[str, object]) -> bool:
    """Whether a layout is wanted.

    Args:
        layout: as the user named it.
        others: value of other options by their names, which must be false.

    Raises:
        SettingsError: an unknown layout, or it does not go together with what else is wanted.
    """
    if layout is None:
        return False
    if layout != BISENET:
        raise SettingsError(f"--layout {layout!r}: not {BISENET}{nearest(layout, [BISENET])}")
    if list(formats) != ["onnx"]:
        raise SettingsError(f"--layout {BISENET}: is of --format onnx alone, not of {', '.join(formats)}")
    for option, value in others.items():
        if value:
            raise SettingsError(f"--layout {BISENET}: does not go together with {option}; leave one of them out")
    return True


def check_label_set(label_set: LabelSet) -> None:
    """Check that every class has a place among `CLASSES`.

    Raises:
        SettingsError: a class has none, or left and right are the viewer's.
    """
    strange = [name for name in label_set.names if name not in CLASSES]
    if strange or "background" not in label_set.classes:
        what = f"{strange[0]!r} is none of BiSeNet's classes" if strange else "it has no 'background'"
        raise SettingsError(f"--layout {BISENET}: label set {label_set.name}: {what} ({', '.join(CLASSES)})")
    if label_set.side == "viewer":
        raise SettingsError(
            f"--layout {BISENET}: label set {label_set.name}: its left is the viewer's, BiSeNet's is the person's own"
        )


def export_bisenet(exporter: Exporter, path: Path) -> BisenetReport:
    """Write the file, after a comparison of its labels with those of faceparse, and of F1 as for all formats.

    Raises:
        SettingsError: the classes do not fit.
        ExportError: the network cannot be exported, or the result is not as good; `path` stays as it was.
        OutputError: `path` cannot be written.
    """
    checkpoint, network = exporter.checkpoint, exporter.network
    label_set = checkpoint.label_set
    check_label_set(label_set)
    if not isinstance(network, ParsingNetwork):
        raise SettingsError(f"--layout {BISENET}: not for an imported network ({checkpoint.source})")
    make_folder(path.parent)
    module = BisenetGraph(network, checkpoint.settings.data, label_set).eval()
    writer = OnnxWriter(
        Graph("logits", module, torch.zeros(2, 3, *SIZE)),
        _metadata(checkpoint.licence),
        opset=exporter.opset,
        names=(INPUT, OUTPUT),
    )
    report: BisenetReport | None = None

    def write_and_verify(file: BinaryIO) -> None:
        nonlocal report
        exporter.write_with(writer.write, file)
        theirs = BisenetNetwork(Path(file.name), label_set)
        agreement = _compare(theirs, Parser(network, exporter.device))
        summary = exporter.judge(f"the layout {BISENET}", theirs)
        absent = tuple(name for name in CLASSES if name not in label_set.classes)
        report = BisenetReport(
            path, Path(file.name).stat().st_size, agreement, absent, summary.scores if summary else None
        )

    write_atomic_with(path, write_and_verify)
    assert report is not None
    return report


class BisenetGraph(nn.Module):
    """N x 3 x 512 x 512 float32, RGB, by ImageNet's mean and std -> N x 19 x 512 x 512 logits of `CLASSES`.

    Inside, the picture is scaled into the network's own crop, as `prepare_photo` does it: corners lie on corners.
    """

    own_mean: Tensor
    own_std: Tensor
    mean: Tensor
    std: Tensor
    order: Tensor

    def __init__(self, network: ParsingNetwork, data: DataSettings, label_set: LabelSet) -> None:
        super().__init__()
        self.logits = network.logits
        self._bgr = data.channel_order == "bgr"
        height, width = data.input_size
        self._side = min(height, width)
        self._top, self._left = (height - self._side) // 2, (width - self._side) // 2
        self._below, self._right = height - self._side - self._top, width - self._side - self._left
        numbers = {"mean": MEAN, "std": STD, "own_mean": data.mean, "own_std": data.std}
        for name, values in numbers.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1))
        places = [label_set.names.index(name) if name in label_set.classes else len(label_set) for name in CLASSES]
        self.register_buffer("order", torch.tensor(places))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of stretched photographs."""
        picture = image * self.std + self.mean  # 0 to 1
        picture = F.interpolate(picture, size=(self._side, self._side), mode="bilinear", align_corners=True)
        picture = F.pad(picture, (self._left, self._right, self._top, self._below))  # black
        if self._bgr:
            picture = picture.flip(1)
        logits = self.logits((picture - self.own_mean) / self.own_std)
        logits = logits[:, :, self._top : self._top + self._side, self._left : self._left + self._side]
        logits = F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=True)
        return F.pad(logits, (0, 0, 0, 0, 0, 1), value=ABSENT)[:, self.order]


class BisenetNetwork:
    """The file as a `Network` with the classes of `label_set`, run as other programs run it."""

    input_size = SIZE

    def __init__(self, path: Path, label_set: LabelSet) -> None:
        """Open the file."""
        try:
            self._session = new_session(path, threads=torch.get_num_threads())
        except Exception as error:  # the runtime raises errors of many kinds
            raise ExportError(f"the exported file cannot be run ({first_line(error)}); nothing was written") from error
        self._path = path
        self._places = [CLASSES.index(name) for name in label_set.names]

    def theirs(self, crops: np.ndarray) -> np.ndarray:
        """N x 512 x 512 x 3 uint8 RGB -> N x 19 x 512 x 512 logits of `CLASSES`."""
        image = normalise(crops, bgr=False, mean=MEAN, std=STD)
        return run_session(self._session, self._path, image, name=INPUT)[0]

    def __call__(self, crops: Tensor) -> Tensor:
        """N x 512 x 512 x 3 uint8 RGB -> N x C x 512 x 512 logits."""
        return torch.from_numpy(self.theirs(crops.cpu().numpy())[:, self._places])

    def labels(self, picture: np.ndarray) -> np.ndarray:
        """512 x 512 x 3 uint8 RGB -> ids of the label set by the largest of all 19 logits; 255 for an absent class."""
        table = np.full(len(CLASSES), 255, np.uint8)
        table[self._places] = np.arange(len(self._places))
        return table[self.theirs(picture[None])[0].argmax(axis=0)]


def _compare(theirs: BisenetNetwork, ours: Parser) -> float:
    """Share of pixels with the same class in both; ExportError where it is too small."""
    pictures: Sequence[np.ndarray] = list(drawn_crops(_PICTURES, SIZE).numpy())
    same = [theirs.labels(one) == label for one, label in zip(pictures, ours.parse(pictures), strict=True)]
    agreement = float(np.mean(same))
    if agreement < AGREEMENT:
        raise ExportError(
            f"the exported file gives the class of faceparse to {agreement:.3%} of pixels alone; nothing was written"
        )
    return agreement


def _metadata(licence: str | None) -> Metadata:
    """Metadata for other programs and people. Our own commands see the layout and refuse the file."""
    return {
        LAYOUT: BISENET,
        "made_by": f"faceparse {__version__}",
        "class_names": json.dumps(CLASSES),
        "preprocessing": f"stretch to {SIZE[0]} x {SIZE[1]}, RGB / 255, - {list(MEAN)}, / {list(STD)}",
        **({"licence": licence} if licence else {}),
    }
