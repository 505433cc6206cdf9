"""Soft masks at a photograph's size."""

import tracemalloc

import cv2
import numpy as np

from faceparse.core.faces.crops import Crop, crop_picture
from faceparse.core.faces.face import Face
from faceparse.core.faces.matte import matte, softmax
from faceparse.core.images.warp import warp_image

SIZE = (48, 48)


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """Coverage of a disc, H x W float32, from 8 x 8 samples a pixel."""
    rows, columns = (np.arange(8 * side) / 8 - 7 / 16 for side in (height, width))
    inside = (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2 < radius**2
    return cv2.resize(inside.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def pictured(coverage: np.ndarray) -> np.ndarray:
    """A bright thing on a dark, rough ground."""
    ground = np.random.default_rng(0).normal(60, 4, (*coverage.shape, 3))
    return np.clip(np.rint(ground + coverage[..., None] * (np.array([200, 170, 90]) - ground)), 0, 255).astype(np.uint8)


def answers_to(coverage: np.ndarray, crops: list[Crop]) -> list[np.ndarray]:
    """What a good network answers: two classes, at the crops' resolution."""
    shares = [warp_image(cv2.blur(coverage, (9, 9)), crop.matrix, crop.image.shape[:2]) for crop in crops]
    return [np.stack([1 - share, share]) for share in shares]


def masked(
    image: np.ndarray, answers: list[np.ndarray], crops: list[Crop], owner: np.ndarray | None = None
) -> np.ndarray:
    """Mask of class 1; the picture is of no face unless `owner` says so."""
    return matte(image, answers, crops, np.zeros(image.shape[:2], np.uint16) if owner is None else owner, [1])


def test_edges_are_nearer_to_the_truth_than_enlarged_probabilities() -> None:
    coverage = disc(400, 500, 230, 190, 120)
    image = pictured(coverage)
    (crop,) = crops = crop_picture(image, None, SIZE)
    answers = answers_to(coverage, crops)
    enlarged = cv2.warpAffine(answers[0][1], crop.matrix, (500, 400), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    found = masked(image, answers, crops) / 255
    assert np.abs(found - coverage).mean() < 0.2 * np.abs((enlarged > 0.5) - coverage).mean()
    assert np.abs((enlarged > 0.5) - coverage).mean() < np.abs(enlarged - coverage).mean()
    far = np.abs(np.hypot(np.arange(500)[None] - 230, np.arange(400)[:, None] - 190) - 120) > 80
    assert np.abs(found - coverage)[far].max() < 0.02


def test_a_face_is_masked_beyond_its_aligned_crop_and_nothing_is_beyond_the_wider_one() -> None:
    coverage = disc(300, 400, 150, 150, 70)
    image = pictured(coverage)
    crops = crop_picture(image, [Face((115, 115, 70, 70))], SIZE)
    assert [crop.wide for crop in crops] == [False, True]
    found = masked(image, answers_to(coverage, crops), crops) / 255
    assert np.abs(found - coverage).mean() < 0.01
    assert not masked(image, [np.stack([np.zeros(SIZE), np.ones(SIZE)]).astype(np.float32)] * 2, crops)[:, 300:].any()


def test_each_face_has_its_own_mask_and_the_background_the_largest() -> None:
    image = np.full((60, 160, 3), 90, np.uint8)
    crops = [
        Crop(np.zeros((60, 100, 3), np.uint8), np.array([[1.0, 0, -shift], [0, 1, 0]]), (shift, 0, 100, 60), number)
        for number, shift in enumerate((0, 60))
    ]
    owner = np.zeros((60, 160), np.uint16)
    owner[:20], owner[40:] = 1, 2
    shares = [np.full((60, 100), value, np.float32) for value in (0.45, 0.55)]  # 0.2 and 0.8 with their contrast
    found = masked(image, [np.stack([1 - share, share]) for share in shares], crops, owner)
    assert np.abs(found[30, [20, 80, 140]] - np.array([51, 204, 204])).max() <= 1
    assert np.abs(found[10, [20, 80, 140]].astype(int) - np.array([51, 51, 0])).max() <= 1
    assert np.abs(found[50, [20, 80, 140]].astype(int) - np.array([0, 204, 204])).max() <= 1


def test_memory_does_not_grow_with_the_photograph_beyond_its_mask() -> None:
    """OpenCV's own arrays are NumPy's, so they count, too."""

    def peak(side: int) -> int:
        image = np.zeros((side, side, 3), np.uint8)
        crops = crop_picture(image, None, SIZE)
        owner = np.zeros((side, side), np.uint16)
        tracemalloc.start()
        matte(image, [np.zeros((2, *SIZE), np.float32)], crops, owner, [1])
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    side = 3000
    strip = 256 * side * 4 * 10  # ten numbers a pixel
    assert peak(side) < 4 * side**2 + strip


def test_a_photograph_smaller_than_its_crop_is_filtered_as_it_is() -> None:
    coverage = disc(20, 30, 15, 10, 6)
    image = pictured(coverage)
    crops = crop_picture(image, None, SIZE)
    found = masked(image, answers_to(coverage, crops), crops)
    assert found.shape == (20, 30)
    assert found[10, 15] > 150
    assert found[1, 1] < 50


def test_the_background_is_what_the_other_classes_leave() -> None:
    coverage = disc(300, 400, 150, 150, 70)
    image, owner = pictured(coverage), np.zeros((300, 400), np.uint16)
    crops = crop_picture(image, [Face((115, 115, 70, 70))], SIZE)
    answers = answers_to(coverage, crops)
    background = matte(image, answers, crops, owner, [0])
    assert np.array_equal(background, 255 - matte(image, answers, crops, owner, [1]))
    assert (background[:, 300:] == 255).all()  # beyond the crops
    assert (matte(image, answers, crops, owner, [0, 1]) == 255).all()
    assert (matte(image, [], [], owner, [0]) == 255).all()
    assert not matte(image, [], [], owner, [1]).any()


def test_softmax_gives_probabilities_whatever_the_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 40, (3, 5, 6)).astype(np.float32)
    exact = np.exp(logits.astype(np.float64))
    assert np.abs(softmax(logits) - exact / exact.sum(axis=0)).max() < 1e-6
    assert np.isfinite(softmax(1e4 * logits)).all()
