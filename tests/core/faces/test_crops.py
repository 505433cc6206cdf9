import numpy as np
import pytest

from faceparse.core.faces.alignment import FARL_512
from faceparse.core.faces.crops import (
    BOX_SHARE,
    SEAM,
    WIDER,
    Crop,
    crop_picture,
    face_matrix,
    paste,
    settle,
)
from faceparse.core.faces.face import Face
from faceparse.core.faces.geometry import FaceGeometry, square_to_crop
from faceparse.core.images.warp import apply, chain, crop_matrix, invert, warp_image
from faceparse.core.parser.inference import Parser

RANDOM = np.random.default_rng(0)
TEMPLATE = np.array(FARL_512)


def sure(ids: np.ndarray) -> np.ndarray:
    """11 x h x w logits of a network that is sure of these ids."""
    return np.moveaxis(np.eye(11, dtype=np.float32)[ids], 2, 0)


def test_without_faces_the_crop_is_what_the_parser_sees_of_a_photograph(parser: Parser) -> None:
    image = RANDOM.integers(0, 256, (50, 90, 3), dtype=np.uint8)
    (crop,) = crop_picture(image, None, (64, 64))
    ids = RANDOM.integers(0, 11, (64, 64)).astype(np.uint8)
    parsed = paste([sure(ids)], [crop], (50, 90))
    for row, column in np.ndindex(50, 90):
        x, y = apply(crop.matrix, np.array([[column, row]], float))[0]
        around = {int(ids[min(int(y + b), 63), min(int(x + a), 63)]) for a in (-0.01, 1) for b in (-0.01, 1)}
        inside = -0.5 < y < 63.5 and -0.5 < x < 63.5
        assert int(parsed.label[row, column]) in (around if inside else {0})
    assert np.array_equal(parsed.owner, parsed.label != 0)


@pytest.mark.parametrize("size", [(64, 64), (100, 80), (80, 100)], ids=str)
def test_five_points_lie_on_the_template(size: tuple[int, int]) -> None:
    turned = TEMPLATE @ np.array([[0.3, 0.1], [-0.1, 0.3]]) + [100, 40]
    matrix = face_matrix(Face((0, 0, 1, 1), points=turned), (300, 400), size)
    square = min(size)
    left, top = (size[1] - square) / 2, (size[0] - square) / 2
    expected = TEMPLATE / 511 * (square - 1) + [left, top]
    np.testing.assert_allclose(apply(matrix, turned), expected, atol=1e-6)


def test_a_box_takes_up_its_share_around_the_middle() -> None:
    box = (30.0, 50.0, 40.0, 60.0)  # pixels 30 to 69 and 50 to 109
    matrix = face_matrix(Face(box), (200, 200), (91, 91))
    top, bottom = apply(matrix, np.array([[49.5, 49.5], [49.5, 109.5]]))
    assert bottom[1] - top[1] == pytest.approx(BOX_SHARE * 512 * 90 / 511)
    np.testing.assert_allclose((top + bottom) / 2, [45, 45])


def test_points_that_are_no_face_leave_the_box() -> None:
    face = Face((30, 50, 40, 60), points=np.zeros((5, 2)))
    expected = face_matrix(Face(face.box), (200, 200), (64, 64))
    np.testing.assert_array_equal(face_matrix(face, (200, 200), (64, 64)), expected)


def square_crop(x: int, y: int, side: int, *, face: int = 0, wide: bool = False) -> Crop:
    """A crop that shows the picture's pixels as they are."""
    matrix = np.array([[1.0, 0, -x], [0, 1, -y]])
    return Crop(np.zeros((side, side, 3), np.uint8), matrix, (x, y, side, side), face, wide)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_larger_face_wins_but_its_background_does_not(order: tuple[int, int]) -> None:
    large, small = np.zeros((8, 8), np.uint8), np.full((4, 4), 3, np.uint8)
    large[:, :6] = 7
    faces = [
        (sure(large), square_crop(2, 1, 8, face=order.index(0))),
        (sure(small), square_crop(6, 3, 4, face=order.index(1))),
    ]
    answers, crops = zip(*(faces[i] for i in order), strict=True)
    parsed = paste(answers, crops, (10, 12))
    expected = np.zeros((10, 12), np.uint8)
    expected[3:7, 6:10] = 3
    expected[1:9, 2:8] = 7
    assert np.array_equal(parsed.label, expected)
    assert np.array_equal(
        parsed.owner, np.where(expected == 7, order.index(0) + 1, (expected == 3) * (order.index(1) + 1))
    )


def test_faces_may_lie_beyond_the_border() -> None:
    ids = np.full((4, 4), 5, np.uint8)
    parsed = paste([sure(ids)] * 3, [square_crop(-2, -3, 4), square_crop(9, 4, 4), square_crop(40, 40, 4)], (6, 10))
    expected = np.zeros((6, 10), np.uint8)
    expected[:1, :2] = expected[4:, 9:] = 5
    assert np.array_equal(parsed.label, expected)


def test_no_faces_are_background() -> None:
    assert not paste([], [], (6, 10)).label.any()


def test_an_aligned_crop_wins_against_wider_ones() -> None:
    aligned, wide, others = (np.full((side, side), ids, np.uint8) for side, ids in ((4, 3), (8, 7), (4, 5)))
    aligned[0] = 0  # the face's own wider crop knows no better, another face's does
    crops = [square_crop(4, 4, 4, face=0), square_crop(2, 2, 8, face=0, wide=True), square_crop(6, 2, 4, face=1)]
    parsed = paste([sure(aligned), sure(wide), sure(others)], crops, (12, 12))
    expected = np.zeros((12, 12), np.uint8)
    expected[2:10, 2:10] = 7
    expected[4, 4:8] = 0
    expected[2:6, 6:10] = 5
    expected[5:8, 4:8] = 3
    # Both aligned crops are as large: the later one lies above.
    expected[5, 6:8] = 5
    assert np.array_equal(parsed.label, expected)
    assert set(np.unique(parsed.owner[parsed.label == 5])) == {2}


def test_the_border_of_an_aligned_crop_says_what_the_wider_one_says() -> None:
    side = 64
    image = RANDOM.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    face = Face((80, 80, 40, 40))
    crops = crop_picture(image, [face], (side, side))
    assert [(crop.face, crop.wide) for crop in crops] == [(0, False), (0, True)]
    zoom = [np.sqrt(np.linalg.det(crop.matrix[:, :2])) for crop in crops]
    assert zoom[0] / zoom[1] == pytest.approx(WIDER)
    inner, outer = np.full((11, side, side), 2.0, np.float32), np.full((11, side, side), 5.0, np.float32)
    mixed, same = settle([inner, outer], crops)
    assert same is outer
    np.testing.assert_allclose(mixed[:, 0], 5, atol=1e-5)
    margin = int(np.ceil(SEAM * side))
    np.testing.assert_allclose(mixed[:, margin:-margin, margin:-margin], 2, atol=1e-5)
    middle = mixed[0, side // 2]
    assert (np.diff(middle[: side // 2]) <= 1e-6).all()


def test_a_crop_that_shows_the_whole_picture_has_no_wider_one() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    assert len(crop_picture(image, [Face((15, 15, 30, 30))], (32, 32))) == 2
    assert len(crop_picture(image, [Face((5, 5, 50, 50))], (32, 32))) == 1


GEOMETRY = FaceGeometry(
    centres=((0.38, 0.48), (0.62, 0.48), (0.5, 0.58), (0.5, 0.75)),
    points=((0.38, 0.48), (0.62, 0.48), (0.5, 0.58), (0.4, 0.74), (0.6, 0.74)),
    spread=((0.01, 0.01),) * 4,
    areas=(0.002, 0.002, 0.02, 0.015),
    count=100,
)


@pytest.mark.parametrize("size", [(96, 96), (120, 90)], ids=str)
def test_eyes_and_mouth_corners_go_where_the_training_pictures_have_them(size: tuple[int, int]) -> None:
    there = GEOMETRY.points_in(size)
    turned = there @ np.array([[1.2, 0.5], [-0.5, 1.2]]) + [90, 40]
    turned[2] += 8  # a landmark's nose is its tip: it has no say
    matrix = face_matrix(Face((0, 0, 1, 1), points=turned), (400, 400), size, GEOMETRY)
    np.testing.assert_allclose(apply(matrix, turned)[[0, 1, 3, 4]], there[[0, 1, 3, 4]], atol=1e-6)


def test_a_photograph_that_is_a_training_crop_stays_as_it_is() -> None:
    whole = crop_matrix((320, 320), (64, 64))
    shares = chain(whole, invert(square_to_crop((64, 64))))
    nearly = shares + np.array([[0.01, 0.01, 0.01], [-0.01, 0.01, -0.01]]) * [1 / 320, 1 / 320, 1]
    np.testing.assert_array_equal(face_matrix(Face((0, 0, 9, 9), matrix=nearly), (320, 320), (64, 64)), whole)
    smaller = shares * 1.3
    assert not np.allclose(face_matrix(Face((0, 0, 9, 9), matrix=smaller), (320, 320), (64, 64)), whole)
    image = RANDOM.integers(0, 256, (320, 320, 3), dtype=np.uint8)
    (crop,) = crop_picture(image, [Face((0, 0, 9, 9), matrix=nearly)], (64, 64))
    assert np.array_equal(crop.image, warp_image(image, whole, (64, 64)))
