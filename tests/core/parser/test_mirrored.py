"""The mirror image of a crop as a second view."""

import pytest
import torch
from torch import Tensor

from faceparse.core.errors import SettingsError
from faceparse.core.labels.label_set import get_label_set, label_set_from_dict
from faceparse.core.parser.mirrored import BothViews, check_mirror, mirror_swap

SIDES = {
    "name": "sides",
    "side": "viewer",
    "classes": {"background": "#000000", "left": "#ff0000", "right": "#00ff00", "middle": "#0000ff"},
}
LABELS = label_set_from_dict(SIDES | {"mirror": [["left", "right"]]}, "sides.toml")
CPU = torch.device("cpu")


class Left:
    """Class 1 is the left half of the crop, class 2 its right half, class 3 what is red, each with another logit."""

    input_size = (4, 6)

    def __call__(self, crops: Tensor) -> Tensor:
        answers = torch.zeros(len(crops), 4, *crops.shape[1:3])
        answers[:, 1, :, :3], answers[:, 2, :, 3:] = 5, 4
        answers[:, 3] = crops[..., 0].float()
        return answers


def test_both_views_are_answers_to_the_same_pixels() -> None:
    crops = torch.zeros(2, 4, 6, 3, dtype=torch.uint8)
    crops[0, 1, 0, 0] = 9
    both = BothViews(Left(), LABELS, CPU)
    found = both(crops)
    assert (found.shape, both.input_size) == ((2, 8, 4, 6), (4, 6))
    assert torch.equal(found[:, :4], Left()(crops))
    # seen in the mirror, its left half is the right one: the network says 5 to it, and that is class 2
    assert found[0, 6, 0].tolist() == [0, 0, 0, 5, 5, 5]
    assert found[0, 5, 0].tolist() == [4, 4, 4, 0, 0, 0]
    assert torch.equal(found[:, 7], found[:, 3])  # what is not of a side stays in its place


def test_the_mirror_of_the_mirror_is_the_class_itself() -> None:
    for name in ("celebamask-hq", "helen", "fasseg"):
        swap = mirror_swap(get_label_set(name), CPU)
        assert swap[swap].tolist() == list(range(len(get_label_set(name))))


def test_sides_without_pairs_cannot_be_swapped() -> None:
    check_mirror(LABELS, "--tta flip")
    check_mirror(label_set_from_dict(SIDES | {"side": "none"}, "x.toml"), "--tta flip")
    with pytest.raises(SettingsError, match=r"^uncertain: label set 'sides' has sides but no mirror pairs; add mirror"):
        check_mirror(label_set_from_dict(SIDES, "x.toml"), "uncertain")
