"""The mirror image as a second view of a crop: left and right classes change places in it."""

import torch
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.parser.trained import Network


def check_mirror(label_set: LabelSet, what: str) -> None:
    """Check that left and right classes can be swapped. `what` needs that, in errors.

    Raises:
        SettingsError: the label set has sides but no mirror pairs.
    """
    if label_set.side != "none" and not label_set.mirror:
        raise SettingsError(
            f"{what}: label set {label_set.name!r} has sides but no mirror pairs; add mirror = [[left, right], ...]"
        )


def mirror_swap(label_set: LabelSet, device: torch.device) -> Tensor:
    """For each class the one that takes its place in the mirror, C int64."""
    return torch.from_numpy(label_set.mirror_table()[: len(label_set)]).to(device, torch.int64)


def unmirror(answers: Tensor, swap: Tensor) -> Tensor:
    """Answers to mirrored crops, N x C x H x W, as answers to the crops themselves."""
    return answers.flip(3)[:, swap]


class BothViews:
    """A network's answers to crops and to their mirror images, stacked: N x 2C x H x W logits."""

    def __init__(self, network: Network, label_set: LabelSet, device: torch.device) -> None:
        self.network, self.input_size = network, network.input_size
        self._swap = mirror_swap(label_set, device)

    def __call__(self, crops: Tensor) -> Tensor:
        """Logits of the crops, then of their mirror images, turned back."""
        return torch.cat([self.network(crops), unmirror(self.network(crops.flip(2)), self._swap)], dim=1)
