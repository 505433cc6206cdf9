"""An export for BiSeNet's programs: what such a program computes with it, written here from its description alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import faceparse
from faceparse.core.errors import CheckpointError, ExportError, SettingsError
from faceparse.core.export import bisenet
from faceparse.core.export.bisenet import CLASSES, check_label_set, check_layout, export_bisenet
from faceparse.core.export.export import Exporter
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.parser.inference import load_parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runtime.open_onnx import open_onnx
from faceparse.core.settings import load_settings

NAMES = (
    "background skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r "
    "nose mouth u_lip l_lip neck neck_l cloth hair hat"
)
FEW = ("hair", "background", "skin", "nose")


def label_set(names: tuple[str, ...], side: str = "none") -> LabelSet:
    colours = {name: f"#{40 * i + 10:06x}" for i, name in enumerate(names)}
    return LabelSet(name="few", side=side, classes=colours)  # type: ignore[arg-type]


class Colours(ParsingModel):
    """A pixel's class depends on its colour, so that a wrong order of the channels or another mean is seen."""

    align_corners = False

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.register_buffer("directions", torch.tensor([[3.0, -2, 0], [0, 0, 0.5], [-2, 3, 0], [0, -1, 3]]))

    def forward(self, image: Tensor) -> Output:
        return Output(torch.einsum("ck,nkhw->nchw", self.directions, nn.functional.avg_pool2d(image, 4)), None)


class Few(Checkpoint):
    """A checkpoint of that network."""

    def network(self, device: torch.device, input_size: Size | None = None) -> ParsingNetwork:
        return ParsingNetwork(Colours(), self.settings.data).eval()


@pytest.fixture(scope="module")
def few() -> Checkpoint:
    """Four classes, BGR by other means, a crop that is no square."""
    options = {
        "data.channel_order": "bgr",
        "data.mean": (0.4, 0.5, 0.3),
        "data.std": (0.2, 0.3, 0.4),
        "data.input_size": (160, 128),
    }
    return Few(path=Path("few.pth"), settings=load_settings(options=options), label_set=label_set(FEW), weights={})


@pytest.fixture(scope="module")
def written(few: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bisenet") / "few-bisenet.onnx"
    report = export_bisenet(Exporter(few), path)
    assert report.agreement > 0.99
    assert set(report.absent) == set(NAMES.split()) - set(FEW)
    assert (report.path, report.size, report.scores) == (path, path.stat().st_size, None)
    return path


def test_a_program_that_was_written_for_bisenet_gives_our_labels(written: Path, few: Checkpoint) -> None:
    """Its steps: stretch to 512 x 512, / 255, ImageNet's mean and std, argmax over the first output's channels."""
    colours = np.random.default_rng(3).integers(0, 256, (9, 9, 3), np.uint8)
    photograph = np.asarray(Image.fromarray(colours).resize((300, 300), Image.Resampling.BICUBIC))
    picture = Image.fromarray(photograph).resize((512, 512), Image.Resampling.BILINEAR)
    values = (np.asarray(picture, np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    first, *_ = session.run(None, {"input": values.transpose(2, 0, 1)[None].astype(np.float32)})
    assert (first.shape, first.dtype) == ((1, 19, 512, 512), np.float32)
    theirs = np.array(NAMES.split())[first[0].argmax(axis=0)]
    (labels,) = load_parser(few, torch.device("cpu")).parse([np.asarray(picture)])
    ours = np.array(FEW)[labels]
    assert min((ours == name).mean() for name in FEW) > 0.004  # or a wrong order would not show
    assert (theirs == ours).mean() > 0.99


def test_a_batch_is_answered_like_its_pictures_alone(written: Path) -> None:
    session = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(0).normal(size=(3, 3, 512, 512)).astype(np.float32)
    (together,) = session.run(None, {"input": pictures})
    (alone,) = session.run(None, {"input": pictures[1:2]})
    assert np.abs(together[1:2] - alone).max() < 1e-3
    assert [one.name for one in session.get_outputs()] == ["output"]


def test_our_own_commands_refuse_the_file(written: Path) -> None:
    for use in (faceparse.load, open_onnx):
        with pytest.raises(CheckpointError) as caught:
            use(written)
        assert str(caught.value) == (
            f"{written}: has the layout 'bisenet' of other programs; give the checkpoint that it is from"
        )


def test_the_file_says_whom_it_is_for(written: Path) -> None:
    stored = onnxruntime.InferenceSession(str(written)).get_modelmeta().custom_metadata_map
    assert stored["layout"] == "bisenet"
    assert json.loads(stored["class_names"]) == NAMES.split()


def test_a_graph_that_gives_other_labels_is_not_written(
    few: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = bisenet.BisenetGraph

    def with_channels_swapped(*given: Any) -> nn.Module:
        graph = make(*given)
        graph._bgr = False
        return graph

    monkeypatch.setattr(bisenet, "BisenetGraph", with_channels_swapped)
    with pytest.raises(ExportError, match="gives the class of faceparse to .* of pixels alone; nothing was written"):
        export_bisenet(Exporter(few), tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_the_order_is_theirs() -> None:
    assert tuple(NAMES.split()) == CLASSES
    assert sorted(CLASSES) == sorted(get_label_set("celebamask-hq").names)
    check_label_set(get_label_set("celebamask-hq"))


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        (get_label_set("lapa"), "label set lapa: 'left_brow' is none of BiSeNet's classes (background, skin, l_brow, "),
        (label_set(("skin", "hair")), "label set few: it has no 'background' (background, skin, "),
        (
            label_set(("background", "l_eye", "r_eye"), "viewer"),
            "label set few: its left is the viewer's, BiSeNet's is the person's own",
        ),
    ],
)
def test_classes_that_cannot_fit_are_refused(classes: LabelSet, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_label_set(classes)
    assert str(caught.value).startswith(f"--layout bisenet: {reason}")


@pytest.mark.parametrize(
    ("layout", "formats", "others", "reason"),
    [
        ("bisnet", ["onnx"], {}, "--layout 'bisnet': not bisenet; did you mean 'bisenet'?"),
        ("bisenet", ["onnx", "pt2"], {}, "--layout bisenet: is of --format onnx alone, not of onnx, pt2"),
        (
            "bisenet",
            ["onnx"],
            {"--bundle": False, "--register": "x"},
            "--layout bisenet: does not go together with --register; leave one of them out",
        ),
    ],
)
def test_what_does_not_go_together_is_one_line(
    layout: str, formats: list[str], others: dict[str, object], reason: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        check_layout(layout, formats, others)
    assert str(caught.value) == reason
    assert not check_layout(None, formats, others)
