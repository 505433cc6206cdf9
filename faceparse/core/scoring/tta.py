"""Test-time augmentation: one network parses several views of each crop, and their probabilities are averaged.

Each kind of view is a network around another one, so they combine. The output is the logarithm of the averaged
probabilities: softmax gives the probabilities back, and protocols that warp logits work as on any logits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.model.resnet import resize
from faceparse.core.parser.mirrored import check_mirror, mirror_swap, unmirror
from faceparse.core.parser.trained import Network, TrainedModel

KINDS = ("flip", "scales")
SCALES = (0.75, 1.0, 1.25)
_SMALLEST = 32
"""Least side of a crop, as for `data.input_size`."""


@dataclass(frozen=True)
class Augmentation:
    """The views to average. Without any it is the plain network."""

    flip: bool = False
    scales: tuple[float, ...] = ()
    """Factors on the crop's sides."""

    @property
    def name(self) -> str:
        """Name in outputs: `tta-flip`, `tta-flip-scales-0.75-1-1.25`, or empty."""
        scales = ["scales", *(f"{scale:g}" for scale in self.scales)] if self.scales else []
        parts = [*(["flip"] if self.flip else []), *scales]
        return "-".join(["tta", *parts]) if parts else ""


NONE = Augmentation()


def resolve_augmentation(kinds: str | None, scales: str | None) -> Augmentation:
    """Read the options of `--tta` and `--tta-scales`, such as `flip,scales` and `0.75,1,1.25`.

    Raises:
        SettingsError: there is no such kind, a scale is no factor, or scales are given without `--tta scales`.
    """
    chosen = [kind.strip() for kind in kinds.split(",")] if kinds is not None else []
    for kind in chosen:
        if kind not in KINDS:
            raise SettingsError(f"--tta {kind!r}: not one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    if scales is not None and "scales" not in chosen:
        raise SettingsError("--tta-scales is of no use without --tta scales; add that, or drop it")
    factors = SCALES if scales is None else _factors(scales)
    return Augmentation("flip" in chosen, factors if "scales" in chosen else ())


def _factors(text: str) -> tuple[float, ...]:
    try:
        factors = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        factors = ()
    if not factors or not all(0.1 <= factor <= 10 for factor in factors):
        raise SettingsError(f"--tta-scales {text!r}: write factors between 0.1 and 10, such as 0.75,1,1.25")
    return factors


def check_augmentation(augmentation: Augmentation, label_set: LabelSet, input_size: Size) -> None:
    """Check that the augmentation fits the label set and the input size.

    Raises:
        SettingsError: left and right classes cannot be swapped, or a scaled crop would be too small.
    """
    if augmentation.flip:
        check_mirror(label_set, "--tta flip")
    for scale in augmentation.scales:
        height, width = _scaled(input_size, scale)
        if min(height, width) < _SMALLEST:
            raise SettingsError(
                f"--tta-scales {scale:g}: a crop of {height} x {width} pixels; {_SMALLEST} x {_SMALLEST} is the least"
            )


def augmented_network(
    trained: TrainedModel,
    label_set: LabelSet,
    augmentation: Augmentation,
    device: torch.device,
    input_size: Size | None = None,
) -> Network:
    """The model's network, or its average over the views.

    Raises:
        CheckpointError: the model takes no other input size, and scales are asked for.
    """
    if augmentation.scales:
        size = input_size or trained.settings.data.input_size
        networks = [trained.network(device, _scaled(size, scale)) for scale in augmentation.scales]
        network: Network = Scaled(networks, size)
    else:
        network = trained.network(device, input_size)
    return Flipped(network, label_set, device) if augmentation.flip else network


def _scaled(size: Size, scale: float) -> Size:
    return round(size[0] * scale), round(size[1] * scale)


class Flipped:
    """Average of a network over a crop and its mirror image, in which left and right classes change places."""

    def __init__(self, network: Network, label_set: LabelSet, device: torch.device) -> None:
        self.network, self.input_size = network, network.input_size
        self._swap = mirror_swap(label_set, device)

    def __call__(self, crops: Tensor) -> Tensor:
        """Return the logarithm of the averaged probabilities, N x C x H x W."""
        return _log_mean(self._views(crops), 2)

    def _views(self, crops: Tensor) -> Iterator[Tensor]:
        yield self.network(crops).softmax(dim=1)
        yield unmirror(self.network(crops.flip(2)).softmax(dim=1), self._swap)


class Scaled:
    """Average of networks that see one crop in different sizes."""

    def __init__(self, networks: Sequence[Network], input_size: Size) -> None:
        self.networks, self.input_size = networks, input_size

    def __call__(self, crops: Tensor) -> Tensor:
        """Return the logarithm of the averaged probabilities, N x C x H x W."""
        return _log_mean(self._views(crops), len(self.networks))

    def _views(self, crops: Tensor) -> Iterator[Tensor]:
        for network in self.networks:
            logits = network(_resized(crops, network.input_size))
            yield resize(logits.softmax(dim=1), self.input_size)


def _log_mean(probabilities: Iterable[Tensor], count: int) -> Tensor:
    """Logarithm of the mean of `count` tensors, N x C x H x W each. One is in memory at a time."""
    return (reduce(torch.add, probabilities) / count).clamp_min(torch.finfo(torch.float32).tiny).log()


def _resized(crops: Tensor, size: Size) -> Tensor:
    """Crops at another size, N x H x W x 3 uint8; bilinear, with corners aligned, as crops themselves are taken."""
    if crops.shape[1:3] == size:
        return crops
    return resize(crops.permute(0, 3, 1, 2).float(), size).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
