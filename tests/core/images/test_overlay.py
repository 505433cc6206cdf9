"""Labels made visible."""

import numpy as np
import pytest

from faceparse.core.images.overlay import class_mask, colour_label, contact_sheet, cut_out, overlay
from faceparse.core.labels.label_set import get_label_set

RANDOM = np.random.default_rng(0)
PALETTE = get_label_set("helen").palette()
IMAGE = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
LABEL = RANDOM.integers(0, 11, (20, 30), dtype=np.uint8)
LABEL[:4] = 255


def test_each_class_has_its_colour_and_ignored_pixels_are_mid_grey() -> None:
    coloured = colour_label(LABEL, PALETTE)
    for place in np.ndindex(LABEL.shape):
        expected = [128, 128, 128] if LABEL[place] == 255 else PALETTE[LABEL[place]].tolist()
        assert coloured[place].tolist() == expected


def test_mid_grey_of_ignored_pixels_wins_over_a_palette_of_256() -> None:
    palette = np.full((256, 3), 7, np.uint8)
    assert colour_label(np.array([[254, 255]], np.uint8), palette).tolist() == [[[7] * 3, [128] * 3]]


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.55, 1.0])
def test_an_overlay_blends_all_but_the_background(opacity: float) -> None:
    painted = overlay(IMAGE, LABEL, PALETTE, opacity=opacity)
    assert painted.dtype == np.uint8
    for place in np.ndindex(LABEL.shape):
        if LABEL[place] == 0:
            assert painted[place].tolist() == IMAGE[place].tolist()
        else:
            colour = np.array([128] * 3) if LABEL[place] == 255 else PALETTE[LABEL[place]].astype(float)
            expected = opacity * colour + (1 - opacity) * IMAGE[place]
            assert np.abs(painted[place] - expected).max() <= 0.5 + 1e-4


def test_a_photograph_of_background_alone_is_left_untouched() -> None:
    before = IMAGE.copy()
    assert np.array_equal(overlay(IMAGE, np.zeros((20, 30), np.uint8), PALETTE), before)
    overlay(IMAGE, LABEL, PALETTE)
    assert np.array_equal(IMAGE, before)


def test_a_cut_out_shows_the_classes_asked_for_and_hides_all_else() -> None:
    cut = cut_out(IMAGE, class_mask(LABEL, {2, 7}))
    assert cut.dtype == np.uint8
    for place in np.ndindex(LABEL.shape):
        expected = [*IMAGE[place].tolist(), 255] if LABEL[place] in (2, 7) else [0, 0, 0, 0]
        assert cut[place].tolist() == expected


def test_a_soft_mask_makes_a_cut_out_half_transparent_and_its_own_transparency_stays() -> None:
    mask = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    cut = cut_out(IMAGE, mask)
    assert np.array_equal(cut[..., 3], mask)
    assert np.array_equal(cut[..., :3], np.where(mask[..., None] > 0, IMAGE, 0))
    glass = np.dstack([IMAGE, np.full(mask.shape, 100, np.uint8)])
    assert np.abs(cut_out(glass, mask)[..., 3] - mask.astype(float) * 100 / 255).max() <= 0.5 + 1e-3


def flat(size: tuple[int, int], colour: int) -> np.ndarray:
    return np.full((*size, 3), colour, np.uint8)


def test_a_contact_sheet_sets_pictures_in_rows_of_one_height_on_white() -> None:
    sheet = contact_sheet([[flat((20, 40), 10), flat((40, 20), 50)], [flat((10, 10), 90)]], height=20, gap=4)
    expected = np.full((20 + 4 + 20, 40 + 4 + 10), 255)
    expected[:20, :40] = 10
    expected[:20, 44:] = 50
    expected[24:, :20] = 90
    assert sheet.dtype == np.uint8
    assert np.array_equal(sheet, np.repeat(expected[..., None], 3, axis=2))


def test_a_sheet_of_one_picture_is_that_picture() -> None:
    assert np.array_equal(contact_sheet([[IMAGE]], height=20), IMAGE)
