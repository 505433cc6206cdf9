"""Averages over views against each view computed by itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faceparse.core.errors import CheckpointError, SettingsError
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.parser.trained import Network, TrainedModel
from faceparse.core.scoring.tta import (
    Augmentation,
    Flipped,
    augmented_network,
    check_augmentation,
    resolve_augmentation,
)
from faceparse.core.settings import Settings

CPU = torch.device("cpu")
HELEN = get_label_set("helen")
SIZE = (40, 48)


class Ramp:
    """Eleven classes, of which each pixel's colour and place in the crop decide."""

    def __init__(self, input_size: Size) -> None:
        self.input_size = input_size

    def __call__(self, crops: Tensor) -> Tensor:
        assert crops.shape[1:] == (*self.input_size, 3)
        assert crops.dtype == torch.uint8
        x = crops.float().mean(dim=3)[:, None] / 64
        across = torch.linspace(0, 2, crops.shape[2])
        return torch.cat([torch.sin(k * x + across) * (1 + k % 3) for k in range(11)], dim=1)


@dataclass(frozen=True, kw_only=True)
class Model(TrainedModel):
    fixed: bool = False

    def network(self, device: torch.device, input_size: Size | None = None) -> Network:
        if self.fixed and input_size not in (None, SIZE):
            raise CheckpointError(f"{self.path}: takes crops of {SIZE} only")
        return Ramp(input_size or SIZE)


def model(*, fixed: bool = False) -> Model:
    settings = Settings.model_validate({"data": {"input_size": SIZE}})
    return Model(path=Path("x.onnx"), settings=settings, label_set=HELEN, fixed=fixed)


CROPS = torch.from_numpy(
    np.random.default_rng(0).integers(0, 9, (2, 5, 6, 3)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8) * 25
)


def test_flipping_averages_probabilities_of_swapped_sides() -> None:
    found = Flipped(Ramp(SIZE), HELEN, CPU)(CROPS).exp()
    plain = Ramp(SIZE)(CROPS).softmax(dim=1).numpy()
    turned = Ramp(SIZE)(torch.from_numpy(CROPS.numpy()[:, :, ::-1].copy())).softmax(dim=1).numpy()
    for k, name in enumerate(HELEN.names):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        back = turned[:, HELEN.names.index(swapped), :, ::-1]
        assert found[:, k].numpy() == pytest.approx((plain[:, k] + back) / 2, abs=1e-6)
    assert np.abs(plain - turned[..., ::-1]).max() > 0.1


def test_a_mirrored_crop_gives_the_mirrored_answer() -> None:
    network = Flipped(Ramp(SIZE), HELEN, CPU)
    swap = torch.from_numpy(HELEN.mirror_table()[:11].astype(np.int64))
    assert torch.allclose(network(CROPS.flip(2)), network(CROPS).flip(3)[:, swap], atol=1e-6)


def test_scales_average_what_each_size_sees() -> None:
    network = augmented_network(model(), HELEN, Augmentation(scales=(0.8, 1.0, 1.25)), CPU)
    assert network.input_size == SIZE
    expected = []
    for size in ((32, 38), SIZE, (50, 60)):
        pictures = CROPS.permute(0, 3, 1, 2).float()
        crops = torch.nn.functional.interpolate(pictures, size, mode="bilinear", align_corners=True)
        seen = Ramp(size)(crops.round().byte().permute(0, 2, 3, 1)).softmax(dim=1)
        expected.append(torch.nn.functional.interpolate(seen, SIZE, mode="bilinear", align_corners=True))
    assert torch.allclose(network(CROPS).exp(), torch.stack(expected).mean(dim=0), atol=1e-6)


def test_both_together_are_the_mean_over_all_views() -> None:
    both = augmented_network(model(), HELEN, Augmentation(flip=True, scales=(1.0, 1.25)), CPU)
    single = [augmented_network(model(), HELEN, Augmentation(flip=True, scales=(scale,)), CPU) for scale in (1.0, 1.25)]
    expected = torch.stack([network(CROPS).exp() for network in single]).mean(dim=0)
    assert torch.allclose(both(CROPS).exp(), expected, atol=1e-6)


def test_logarithms_stay_finite_where_a_class_is_impossible() -> None:
    class Sure(Ramp):
        def __call__(self, crops: Tensor) -> Tensor:
            return super().__call__(crops) * 1000

    assert Flipped(Sure(SIZE), HELEN, CPU)(CROPS).isfinite().all()


def test_no_augmentation_is_the_network_itself() -> None:
    assert torch.equal(augmented_network(model(), HELEN, Augmentation(), CPU)(CROPS), Ramp(SIZE)(CROPS))


def test_a_fixed_input_size_can_be_flipped_but_not_scaled() -> None:
    fixed = model(fixed=True)
    assert augmented_network(fixed, HELEN, Augmentation(flip=True, scales=(1.0,)), CPU)(CROPS).shape[1] == 11
    with pytest.raises(CheckpointError, match=r"^x\.onnx: takes crops of \(40, 48\) only$"):
        augmented_network(fixed, HELEN, Augmentation(scales=(1.0, 1.25)), CPU)


def test_sides_without_mirror_pairs_cannot_be_flipped() -> None:
    classes = {"a": "#000000", "left_eye": "#000001", "right_eye": "#000002"}
    check_augmentation(Augmentation(flip=True), LabelSet(name="x", side="none", classes=classes), SIZE)
    odd = LabelSet(name="x", side="viewer", classes=classes)
    check_augmentation(Augmentation(scales=(1.0,)), odd, SIZE)
    with pytest.raises(SettingsError, match="^--tta flip: label set 'x' has sides but no mirror pairs; add mirror = "):
        check_augmentation(Augmentation(flip=True), odd, SIZE)


def test_too_small_a_crop_is_refused() -> None:
    with pytest.raises(SettingsError, match="^--tta-scales 0.5: a crop of 20 x 24 pixels; 32 x 32 is the least$"):
        check_augmentation(Augmentation(scales=(1.0, 0.5)), HELEN, SIZE)


@pytest.mark.parametrize(
    ("kinds", "scales", "name"),
    [
        (None, None, ""),
        ("flip", None, "tta-flip"),
        ("scales", None, "tta-scales-0.75-1-1.25"),
        ("scales, flip", "1,1.5", "tta-flip-scales-1-1.5"),
    ],
)
def test_each_augmentation_has_a_name(kinds: str | None, scales: str | None, name: str) -> None:
    assert resolve_augmentation(kinds, scales).name == name


@pytest.mark.parametrize(
    ("kinds", "scales", "expected"),
    [
        ("flips", None, "--tta 'flips': not one of flip, scales; did you mean 'flip'?"),
        ("", None, "--tta '': not one of flip, scales"),
        ("flip", "1,2", "--tta-scales is of no use without --tta scales; add that, or drop it"),
        ("scales", "1,x", "--tta-scales '1,x': write factors between 0.1 and 10, such as 0.75,1,1.25"),
        ("scales", "nan", "--tta-scales 'nan': write factors between 0.1 and 10, such as 0.75,1,1.25"),
        ("scales", "0,1", "--tta-scales '0,1': write factors between 0.1 and 10, such as 0.75,1,1.25"),
    ],
)
def test_what_is_no_augmentation_is_refused(kinds: str, scales: str | None, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_augmentation(kinds, scales)
    assert str(caught.value) == expected
