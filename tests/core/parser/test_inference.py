from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from faceparse.core.errors import CheckpointError
from faceparse.core.images.read_photograph import read_image
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.model.parsing import Output, ParsingModel
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.inference import Parser, classes_of, copy_to_host, load_parser
from faceparse.core.parser.trained import ParsingLogits, ParsingNetwork
from faceparse.core.settings import DataSettings, ModelSettings
from faceparse.core.training.run import RunResult

CPU = torch.device("cpu")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def model() -> EAGRNet:
    torch.manual_seed(0)
    return build_model(ModelSettings(backbone="resnet18", stem="torchvision"), 5).eval()


class Brightness(ParsingModel):
    """In the network's place: class 1 where the image is bright, at a quarter of its size."""

    align_corners = True

    def __init__(self) -> None:
        super().__init__(nn.Identity())

    def forward(self, image: Tensor) -> Output:
        grey = image.mean(dim=1, keepdim=True)[:, :, ::4, ::4]
        return Output(torch.cat([-grey, grey], dim=1), grey)


def test_logits_have_the_inputs_size_and_keep_the_corners(model: EAGRNet) -> None:
    image = torch.randn(2, 3, 37, 50)
    with torch.inference_mode():
        found, quarter = ParsingLogits(model)(image), model(image).parsing
    assert found.shape == (2, 5, 37, 50)
    for i in (0, -1):
        for j in (0, -1):
            torch.testing.assert_close(found[:, :, i, j], quarter[:, :, i, j])
    # Between two corners the values lie on straight lines: 12.5 columns of the map are 49 of the image's.
    x = 5 * (quarter.shape[3] - 1) / 49
    left = int(x)
    between = quarter[:, :, 0, left] * (1 - (x - left)) + quarter[:, :, 0, left + 1] * (x - left)
    torch.testing.assert_close(found[:, :, 0, 5], between, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_crops_are_normalised_in_the_channel_order_of_the_settings(model: EAGRNet, order: str) -> None:
    settings = DataSettings(input_size=(64, 48), channel_order=order)  # type: ignore[arg-type]
    crops = np.random.default_rng(1).integers(0, 256, (2, 64, 48, 3), np.uint8)
    image = np.empty((2, 3, 64, 48), np.float32)
    for c in range(3):
        source = c if order == "rgb" else 2 - c
        image[:, c] = (crops[..., source] / 255 - MEAN[c]) / STD[c]  # mean and std keep their order
    with torch.inference_mode():
        expected = ParsingLogits(model)(torch.from_numpy(image))
    parser = Parser(ParsingNetwork(model, settings), CPU)
    torch.testing.assert_close(parser.logits(torch.from_numpy(crops)), expected, rtol=1e-3, atol=1e-3)
    labels = parser.parse_crops(torch.from_numpy(crops))
    assert (labels.shape, labels.dtype) == ((2, 64, 48), np.uint8)
    assert (labels == expected.argmax(dim=1).numpy()).mean() > 0.999


@pytest.mark.parametrize("size", [(60, 100), (100, 60), (33, 33), (400, 300)], ids=str)
def test_labels_lie_where_the_photograph_has_them(size: tuple[int, int]) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width]
    truth = ((y - 0.6 * height) ** 2 + (x - 0.3 * width) ** 2 < (0.25 * min(size)) ** 2).astype(np.uint8)
    photograph = np.where(truth[..., None], 230, 30).astype(np.uint8).repeat(3, axis=2)
    parser = Parser(ParsingNetwork(Brightness(), DataSettings(input_size=(129, 129))), CPU)  # type: ignore[arg-type]
    (label,) = parser.parse([photograph])
    assert label.shape == size
    # The map has a quarter of the crop's resolution: allow that much along the border.
    pixel = 4 * max(size) / 129
    border = 2 * np.pi * 0.25 * min(size)
    assert (label != truth).sum() < pixel * border * 0.5
    rows, columns = np.nonzero(label)
    assert rows.mean() == pytest.approx(0.6 * height, abs=pixel / 2)
    assert columns.mean() == pytest.approx(0.3 * width, abs=pixel / 2)


def test_photographs_of_different_sizes_make_one_batch() -> None:
    parser = Parser(ParsingNetwork(Brightness(), DataSettings(input_size=(65, 65))), CPU)  # type: ignore[arg-type]
    photographs = [np.full((h, w, 3), value, np.uint8) for h, w, value in ((40, 50, 250), (70, 30, 5), (64, 64, 250))]
    labels = parser.parse(photographs)
    assert [label.shape for label in labels] == [(40, 50), (70, 30), (64, 64)]
    assert [label.min() for label in labels] == [label.max() for label in labels] == [1, 0, 1]


def test_a_parser_has_the_checkpoints_own_preprocessing(trained: RunResult, faces: Path) -> None:
    checkpoint = read_checkpoint(trained.best)
    parser = load_parser(checkpoint, CPU)
    assert parser.input_size == (64, 64)
    assert not any(module.training for module in parser.network.modules())
    (label,) = parser.parse([read_image(next((faces / "images").iterdir()))])
    assert label.shape == (72, 72)
    assert label.max() < 11


def test_the_crop_can_be_another_one(trained: RunResult, faces: Path) -> None:
    parser = load_parser(read_checkpoint(trained.best), CPU, (96, 80))
    assert parser.input_size == (96, 80)
    assert parser.logits(torch.zeros(1, 96, 80, 3, dtype=torch.uint8)).shape == (1, 11, 96, 80)
    (label,) = parser.parse([read_image(next((faces / "images").iterdir()))])
    assert label.shape == (72, 72)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_answer_that_is_no_number_is_refused(value: float) -> None:
    logits = torch.zeros(3, 4, 4)
    logits[1, 2, 2] = value
    for read in (classes_of, lambda one: copy_to_host(one)()):
        with pytest.raises(CheckpointError, match="answers with what is no number"):
            read(logits)
    logits[1, 2, 2] = -float("inf")  # a class that is ruled out is none of it
    assert copy_to_host(logits)().shape == (3, 4, 4)
    assert classes_of(logits).shape == (4, 4)
