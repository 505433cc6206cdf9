"""Labels beside photographs that EXIF turns, against Pillow's way of turning."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from faceparse.core.datasets.orientation import drawn_as_stored, is_drawn_as_stored
from tests.raw import face


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """As Pillow turns it."""
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("seed", range(4))
def test_which_way_a_label_is_drawn_is_seen_in_the_pixels(orientation: int, seed: int) -> None:
    one = face(seed, (96, 96))
    image = upright(one.image, orientation)
    assert is_drawn_as_stored(image, one.label, orientation)
    assert not is_drawn_as_stored(image, upright(one.label, orientation), orientation)
    assert not is_drawn_as_stored(one.image, one.label, 1)


def test_a_label_of_another_shape_or_of_one_class_says_nothing() -> None:
    one = face(0, (96, 80))
    assert not is_drawn_as_stored(one.image, one.label, 6)
    assert not is_drawn_as_stored(one.image, np.zeros_like(one.label), 3)


def test_most_labels_decide() -> None:
    assert drawn_as_stored(4, 2) == ""
    assert drawn_as_stored(0, 0) == ""
    assert drawn_as_stored(4, 3).startswith("3 of 4 labels fit their photographs as these are stored")
