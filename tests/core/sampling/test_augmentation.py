"""Geometry against plain trigonometry and loops over the pixels; randomness that is a pure function."""

import cmath
import math
import random
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from faceparse.core.images.warp import crop_matrix, unwarp_label, warp_image, warp_label
from faceparse.core.sampling.augmentation import (
    Augmentation,
    degrade,
    draw_augmentation,
    jitter_colour,
    warp_image_and_edge,
)
from faceparse.core.sampling.samples import Arrays, augment
from faceparse.core.settings import DataSettings

RANDOM = np.random.default_rng(0)
EVERYTHING = DataSettings(random_mirror=True, color_jitter=0.4)
MATRICES = [
    crop_matrix((31, 44), (36, 40), scale=1.13, rotation=23.7),
    crop_matrix((31, 44), (36, 40), scale=0.81, rotation=-58.3),
    crop_matrix((31, 44), (36, 40)),
]


def warp_edge(edge: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The edge map's part, with the image warped as it would be alone."""
    image = RANDOM.integers(0, 256, (*edge.shape, 3), np.uint8)
    warped, warped_edge = warp_image_and_edge(image, edge, matrix, size)
    assert np.array_equal(warped, warp_image(image, matrix, size))
    return warped_edge


def apply(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    (a, b, c), (d, e, f) = matrix.tolist()
    return a * x + b * y + c, d * x + e * y + f


def invert(matrix: np.ndarray, x: float, y: float) -> tuple[float, float]:
    """Where a 2 x 3 matrix takes to (x, y), by Cramer's rule."""
    (a, b, c), (d, e, f) = matrix.tolist()
    determinant = a * e - b * d
    return (e * (x - c) - b * (y - f)) / determinant, (a * (y - f) - d * (x - c)) / determinant


def value(image: np.ndarray, x: int, y: int, border: int) -> float:
    inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
    return float(image[y, x]) if inside else float(border)


def nearest_by_loop(label: np.ndarray, source: object, size: tuple[int, int], border: int) -> tuple[np.ndarray, ...]:
    """The warped label, and where it is certain: not within a hundredth of a tie between two pixels.

    `source` gives the place in the label of a pixel of the result.
    """
    result, certain = np.zeros(size, np.uint8), np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            u, v = source(x, y)  # type: ignore[operator]
            result[y, x] = value(label, math.floor(u + 0.5), math.floor(v + 0.5), border)
            certain[y, x] = all(abs(math.modf(abs(w))[0] - 0.5) > 0.01 for w in (u, v))
    return result, certain


def bilinear_by_loop(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    result = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            u, v = invert(matrix, x, y)
            left, top = math.floor(u), math.floor(v)
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(u - left - dx)) * (1 - abs(v - top - dy))
                    result[y, x] += weight * value(image, left + dx, top + dy, 0)
    return result


# The crop.


@pytest.mark.parametrize("crop", [(64, 64), (48, 96), (473, 473)])
@pytest.mark.parametrize("image", [(100, 100), (50, 120), (120, 50), (33, 32), (64, 64)])
def test_the_whole_image_fills_the_crop_in_one_direction_and_is_centred_in_the_other(
    image: tuple[int, int], crop: tuple[int, int]
) -> None:
    height, width = image
    left, top = apply(crop_matrix(image, crop), 0, 0)
    right, bottom = apply(crop_matrix(image, crop), width - 1, height - 1)
    zoom = min((crop[1] - 1) / (width - 1), (crop[0] - 1) / (height - 1))
    assert right - left == pytest.approx(zoom * (width - 1))
    assert bottom - top == pytest.approx(zoom * (height - 1))
    assert left + right == pytest.approx(crop[1] - 1)
    assert top + bottom == pytest.approx(crop[0] - 1)
    assert min(left, top) == pytest.approx(0, abs=1e-9)


def test_corners_meet_corners_where_the_shapes_agree() -> None:
    matrix = crop_matrix((41, 81), (64, 127))
    corners = [apply(matrix, x, y) for x, y in ((0, 0), (80, 0), (0, 40), (80, 40))]
    assert np.allclose(corners, [(0, 0), (126, 0), (0, 63), (126, 63)])


def test_an_image_of_the_crops_size_is_left_alone() -> None:
    assert np.allclose(crop_matrix((50, 70), (50, 70)), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    image = RANDOM.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert np.array_equal(warp_image(image, crop_matrix((50, 70), (50, 70)), (50, 70)), image)


@pytest.mark.parametrize("rotation", [0.0, 17.0, 90.0, -60.0])
@pytest.mark.parametrize("scale", [0.75, 1.0, 1.25])
@pytest.mark.parametrize("image", [(100, 60), (60, 100)])
def test_rotation_and_scale_are_those_of_plain_trigonometry(
    image: tuple[int, int], scale: float, rotation: float
) -> None:
    height, width = image
    crop = (48, 80)
    zoom = min((crop[1] - 1) / (width - 1), (crop[0] - 1) / (height - 1)) / scale
    turn = cmath.rect(zoom, math.radians(rotation))  # counter-clockwise where y points up
    matrix = crop_matrix(image, crop, scale=scale, rotation=rotation)
    for x, y in ((0, 0), (width - 1, 0), (13, 7), (width / 2, height - 1)):
        point = turn * complex(x - (width - 1) / 2, (height - 1) / 2 - y)
        expected = (crop[1] - 1) / 2 + point.real, (crop[0] - 1) / 2 - point.imag
        assert apply(matrix, x, y) == pytest.approx(expected, abs=1e-9)


def test_a_quarter_turn_takes_the_right_to_the_top() -> None:
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 35] = 255
    turned = warp_image(image, crop_matrix((41, 41), (41, 41), rotation=90), (41, 41))
    assert np.argwhere(turned[..., 0]).tolist() == [[5, 20]]


def test_a_scale_above_one_makes_the_face_smaller() -> None:
    image = np.full((40, 40, 3), 255, np.uint8)
    areas = [
        int((warp_image(image, crop_matrix((40, 40), (64, 64), scale=scale), (64, 64)) > 127).sum())
        for scale in (0.75, 1.0, 1.25)
    ]
    assert areas[0] == areas[1] > areas[2]


def test_images_of_one_pixel_can_be_cropped() -> None:
    for size in ((1, 1), (1, 50), (50, 1)):
        assert np.isfinite(crop_matrix(size, (32, 48))).all()


# Warps.


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("border", [255, 0])
def test_labels_are_warped_to_the_nearest_pixel(matrix: np.ndarray, border: int) -> None:
    label = RANDOM.integers(0, 11, (31, 44), dtype=np.uint8)
    expected, certain = nearest_by_loop(label, lambda x, y: invert(matrix, x, y), (36, 40), border)
    warped = warp_label(label, matrix, (36, 40), border=border)
    assert certain.mean() > 0.9
    assert np.array_equal(warped[certain], expected[certain])


def test_outside_the_image_labels_are_ignored() -> None:
    warped = warp_label(np.zeros((20, 40), np.uint8), crop_matrix((20, 40), (40, 40)), (40, 40))
    assert set(warped[:9].ravel()) == {255}
    assert set(warped[12:28].ravel()) == {0}
    assert set(warped[-9:].ravel()) == {255}


@pytest.mark.parametrize("matrix", MATRICES)
def test_images_are_warped_bilinearly_on_black(matrix: np.ndarray) -> None:
    image = RANDOM.integers(0, 256, (31, 44, 3), dtype=np.uint8)
    warped = warp_image(image, matrix, (36, 40))
    for channel in range(3):
        expected = bilinear_by_loop(image[..., channel], matrix, (36, 40))
        # OpenCV 4 rounds places to 1/32 pixel.
        assert np.abs(warped[..., channel] - expected).max() <= 255 * 2 / 64 + 1


@pytest.mark.parametrize("on", [255, 1])
def test_edges_are_what_is_not_zero_after_a_bilinear_warp(on: int) -> None:
    edge = (RANDOM.random((31, 44)) < 0.05).astype(np.uint8) * np.uint8(on)
    edge[0] = edge[:, 0] = on  # at the border of the image, too
    for matrix in MATRICES:
        weight = bilinear_by_loop(edge, matrix, (36, 40)) / on
        warped = warp_edge(edge, matrix, (36, 40))
        assert warped.dtype == np.uint8
        assert set(warped.ravel()) == {0, 1}
        assert not warped[weight == 0].any()
        assert warped[weight > (0.06 if on == 255 else 0.56)].all()


def test_an_edge_between_two_pixels_becomes_two_pixels_wide() -> None:
    edge = np.zeros((9, 9), np.uint8)
    edge[4, 4] = 255
    half = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    assert np.argwhere(warp_edge(edge, half, (9, 9))).tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]


def test_there_are_no_edges_outside_the_image() -> None:
    warped = warp_edge(np.full((20, 40), 255, np.uint8), crop_matrix((20, 40), (40, 40)), (40, 40))
    assert not warped[:9].any()
    assert warped[12:28].all()
    assert not warped[-9:].any()


@pytest.mark.parametrize("size", [(40, 40), (31, 44), (44, 31), (40, 12), (5, 40)])
def test_the_way_back_undoes_the_crop(size: tuple[int, int]) -> None:
    label = RANDOM.integers(0, 11, size, dtype=np.uint8)
    matrix = crop_matrix(size, (80, 90))
    crop = warp_label(label, matrix, (80, 90))
    assert np.array_equal(unwarp_label(crop, matrix, size), label)


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_way_back_takes_the_nearest_pixel_of_the_crop_and_background_outside(matrix: np.ndarray) -> None:
    crop = RANDOM.integers(1, 11, (36, 40), dtype=np.uint8)
    expected, certain = nearest_by_loop(crop, lambda x, y: apply(matrix, x, y), (31, 44), 0)
    assert certain.mean() > 0.9
    assert np.array_equal(unwarp_label(crop, matrix, (31, 44))[certain], expected[certain])


# Chance.


def draws(settings: DataSettings, count: int = 1500) -> list[Augmentation]:
    return [draw_augmentation(settings, seed=1, epoch=2, index=index) for index in range(count)]


def test_what_is_drawn_depends_on_seed_epoch_and_index_alone() -> None:
    place = {"seed": 1, "epoch": 2, "index": 3}
    once = draw_augmentation(EVERYTHING, **place)
    np.random.default_rng().random(9)
    assert draw_augmentation(EVERYTHING, **place) == once
    for key in place:
        assert draw_augmentation(EVERYTHING, **{**place, key: 9}) != once


def test_seed_epoch_and_index_do_not_stand_in_for_each_other() -> None:
    seen = {draw_augmentation(EVERYTHING, seed=a, epoch=b, index=c) for a in (1, 2) for b in (1, 2) for c in (1, 2)}
    assert len(seen) == 8


def test_scales_are_a_clipped_normal_of_the_recipe() -> None:
    scales = np.array([one.scale for one in draws(DataSettings())])
    assert (scales.min(), scales.max()) == (0.75, 1.25)
    assert scales.mean() == pytest.approx(1, abs=0.02)
    # Of a standard normal clipped to -1..1: P(|x| > 1) + P(|x| < 1) - 2 phi(1), squared.
    assert scales.std() == pytest.approx(0.25 * math.sqrt(1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi)), rel=0.05)
    assert np.mean(scales == 0.75) == pytest.approx(0.1587, abs=0.04)


def test_rotations_are_a_clipped_normal_in_six_of_ten() -> None:
    rotations = np.array([one.rotation for one in draws(DataSettings())])
    assert (rotations.min(), rotations.max()) == (-60, 60)
    assert np.mean(rotations != 0) == pytest.approx(0.6, abs=0.05)
    turned = rotations[rotations != 0]
    assert turned.mean() == pytest.approx(0, abs=3)
    assert np.mean(np.abs(turned) < 30) == pytest.approx(0.6827, abs=0.05)


def test_half_of_the_samples_are_mirrored_where_that_is_wanted() -> None:
    assert np.mean([one.mirror for one in draws(EVERYTHING)]) == pytest.approx(0.5, abs=0.05)
    assert not any(one.mirror for one in draws(DataSettings()))


def test_jitter_stays_in_its_range() -> None:
    for name in ("brightness", "contrast", "saturation"):
        factors = np.array([getattr(one, name) for one in draws(EVERYTHING)])
        assert 0.6 <= factors.min() < 0.61
        assert 1.39 < factors.max() <= 1.4


def test_factors_are_drawn_apart() -> None:
    columns = np.array(
        [(d.scale, d.rotation, d.mirror, d.brightness, d.contrast, d.saturation) for d in draws(EVERYTHING)]
    )
    correlation = np.corrcoef(columns.T) - np.eye(6)
    assert np.abs(correlation).max() < 0.12


def test_the_recipe_neither_mirrors_nor_recolours() -> None:
    for one in draws(DataSettings(), 50):
        assert replace(one, scale=1.0, rotation=0.0) == Augmentation()


def test_nothing_is_done_where_everything_is_off() -> None:
    assert set(draws(DataSettings(random_scale=False), 50)) == {Augmentation()}


@pytest.mark.parametrize(
    ("off", "still"),
    [
        ({"random_scale": False}, {"scale": 1.0, "rotation": 0.0}),
        ({"scale_sigma": 0.0}, {"scale": 1.0}),
        ({"rotation_probability": 0.0}, {"rotation": 0.0}),
        ({"rotation_sigma": 0.0}, {"rotation": 0.0}),
        ({"random_mirror": False}, {"mirror": False}),
        ({"color_jitter": 0.0}, {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0}),
    ],
)
def test_switching_one_off_leaves_the_others_as_they_were(off: dict[str, object], still: dict[str, object]) -> None:
    settings = EVERYTHING.model_copy(update=off)
    for with_it, without in zip(draws(EVERYTHING, 60), draws(settings, 60), strict=True):
        assert without == replace(with_it, **still)  # type: ignore[arg-type]


# Colour.


def jitter_by_loop(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    """In floating point, clipped after each step."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    coloured = np.clip(image * augmentation.saturation + grey[..., None] * (1 - augmentation.saturation), 0, 255)
    mean = coloured.mean()
    result = np.zeros(image.shape)
    for place in np.ndindex(image.shape):
        contrasted = mean + augmentation.contrast * (coloured[place] - mean)
        result[place] = min(max(augmentation.brightness * contrasted, 0), 255)
    return result


def test_factors_of_one_change_nothing() -> None:
    image = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(jitter_colour(image.copy(), Augmentation(scale=0.8, rotation=9.0, mirror=True)), image)


@pytest.mark.parametrize(
    "factors",
    [
        {"brightness": 0.5},
        {"brightness": 1.9},
        {"contrast": 0.4},
        {"contrast": 2.0},
        {"saturation": 0.3},
        {"saturation": 1.8},
        {"brightness": 1.2, "contrast": 0.7, "saturation": 1.4},
        {"brightness": 0.8, "contrast": 1.6, "saturation": 0.5},
    ],
)
def test_colours_are_those_of_a_slow_computation(factors: dict[str, float]) -> None:
    image = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    before = image.copy()
    jittered = jitter_colour(image, Augmentation(**factors))  # type: ignore[arg-type]
    assert jittered.dtype == np.uint8
    assert np.abs(jittered - jitter_by_loop(image, Augmentation(**factors))).max() <= 3  # type: ignore[arg-type]
    assert np.array_equal(image, before)


def test_more_contrast_keeps_black_black() -> None:
    image = np.full((10, 10, 3), 200, np.uint8)
    image[0] = 0
    assert jitter_colour(image, Augmentation(contrast=2.0))[0].max() == 0


def test_without_saturation_all_is_grey() -> None:
    image = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    grey = jitter_colour(image, Augmentation(saturation=0.0))
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert np.array_equal(grey[..., 0], grey[..., 2])


# Wear.

PICTURE = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8), (0, 0), 2)
WEAR = DataSettings(random_scale=False, shift=0.1, grey=0.5, blur=0.5, jpeg=0.5, noise=0.5, erase=0.5)


def test_the_recipe_draws_what_it_always_drew() -> None:
    """Old runs go on as they began: the numbers come in this order from a generator seeded with this text."""
    for index in range(20):
        dice = random.Random(f"5 7 {index}")
        scale, rotation = dice.gauss(), dice.gauss()
        turned, mirrored, *jitter = (dice.random() for _ in range(5))
        found = draw_augmentation(EVERYTHING, seed=5, epoch=7, index=index)
        assert found.scale == 1 + min(max(EVERYTHING.scale_sigma * scale, -0.25), 0.25)
        assert found.rotation == (30 * min(max(rotation, -2), 2) if turned < 0.6 else 0)
        assert found.mirror == (mirrored < 0.5)
        expected = [1 + EVERYTHING.color_jitter * (2 * value - 1) for value in jitter]
        assert [found.brightness, found.contrast, found.saturation] == expected


def test_another_appearance_of_a_sample_looks_otherwise() -> None:
    place = {"seed": 1, "epoch": 2, "index": 3}
    once = draw_augmentation(EVERYTHING, **place)
    assert draw_augmentation(EVERYTHING, **place, copy=0) == once
    assert len({draw_augmentation(EVERYTHING, **place, copy=copy) for copy in range(4)}) == 4


@pytest.mark.parametrize("kind", ["grey", "blur", "jpeg", "noise", "erase"])
def test_each_kind_of_wear_meets_its_share_of_the_samples(kind: str) -> None:
    settings = DataSettings(random_scale=False).model_copy(update={kind: 0.3})
    worn = [one for one in draws(settings) if getattr(one, kind)]
    assert len(worn) / 1500 == pytest.approx(0.3, abs=0.04)
    nothing = getattr(Augmentation(), kind)
    assert {replace(one, **{kind: nothing}, noise_seed=0) for one in worn} == {Augmentation()}


def test_wear_stays_in_its_range() -> None:
    worn = draws(WEAR)
    assert all(abs(part) <= 0.1 for one in worn for part in one.shift)
    assert min(part for one in worn for part in one.shift) < -0.09
    assert {one.jpeg for one in worn} <= {0, *range(20, 91)}
    blurs = [one.blur for one in worn if one.blur]
    assert 0.003 <= min(blurs) < max(blurs) <= 0.02
    assert max(one.noise for one in worn) <= 0.08
    for left, top, width, height in (one.erase for one in worn if one.erase):
        assert 0.02 - 1e-9 <= width * height <= 0.15 + 1e-9
        assert 0 <= left <= left + width <= 1 + 1e-9
        assert 0 <= top <= top + height <= 1 + 1e-9


@pytest.mark.parametrize(
    "wear",
    [{"grey": True}, {"blur": 0.02}, {"jpeg": 20}, {"noise": 0.05, "noise_seed": 3}, {"erase": (0.1, 0.2, 0.3, 0.4)}],
    ids=str,
)
def test_each_kind_changes_the_picture_and_only_that(wear: dict[str, Any]) -> None:
    before = PICTURE.copy()
    first, second = degrade(PICTURE, Augmentation(**wear)), degrade(PICTURE, Augmentation(**wear))
    assert np.array_equal(PICTURE, before)
    assert np.array_equal(first, second)
    assert (first.shape, first.dtype) == (PICTURE.shape, np.uint8)
    assert first.flags.c_contiguous
    assert not np.array_equal(first, PICTURE)
    assert np.abs(first.mean((0, 1)) - PICTURE.mean((0, 1))).max() < 30  # not another picture


def test_without_wear_the_picture_is_left_alone() -> None:
    assert degrade(PICTURE, Augmentation(mirror=True, brightness=0.5, shift=(0.1, 0.1))) is PICTURE


def test_grey_is_the_weighted_sum_of_the_channels() -> None:
    grey = degrade(PICTURE, Augmentation(grey=True))
    expected = PICTURE @ np.array([0.2989, 0.587, 0.114])
    for channel in range(3):
        assert np.abs(grey[..., channel] - expected).max() <= 1
        assert np.array_equal(grey[..., channel], grey[..., 0])


def test_blur_is_a_gaussian_of_that_share_of_the_height() -> None:
    sigma = 0.05 * 48
    found = degrade(PICTURE, Augmentation(blur=0.05))
    steps = np.arange(-5, 6)
    kernel = np.exp(-(steps**2) / (2 * sigma**2))
    kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
    for y, x in ((20, 30), (10, 50), (30, 12)):
        expected = (PICTURE[y - 5 : y + 6, x - 5 : x + 6] * kernel[..., None]).sum((0, 1))
        assert np.abs(found[y, x] - expected).max() <= 1


def test_noise_has_that_standard_deviation_and_is_the_seeds() -> None:
    plain = np.full((64, 64, 3), 128, np.uint8)
    one, other = (degrade(plain, Augmentation(noise=0.05, noise_seed=seed)).astype(float) for seed in (1, 2))
    assert one.std() == pytest.approx(0.05 * 255, rel=0.05)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.05


def test_compression_is_worse_the_lower_the_quality() -> None:
    errors = [
        np.abs(degrade(PICTURE, Augmentation(jpeg=quality)).astype(int) - PICTURE).mean() for quality in (20, 50, 90)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


def test_a_lost_rectangle_is_grey_and_the_rest_stays() -> None:
    found = degrade(PICTURE, Augmentation(erase=(0.25, 0.5, 0.5, 0.25)))
    expected = PICTURE.copy()
    expected[24:36, 16:48] = 127
    assert np.array_equal(found, expected)


def test_a_shift_moves_picture_label_and_edges_alike() -> None:
    label = (PICTURE[..., 0] > 128).astype(np.uint8)
    arrays = Arrays(PICTURE, label, label)
    mirror = np.arange(256, dtype=np.uint8)
    size = PICTURE.shape[:2]
    still, moved = (augment(arrays, Augmentation(shift=shift), size, mirror) for shift in ((0.0, 0.0), (0.125, -0.25)))
    for before, after in zip(still, moved, strict=True):
        assert np.array_equal(after[:36, 8:], before[12:, :56])
    assert (moved.label[36:] == 255).all()
    assert (moved.label[:, :8] == 255).all()
