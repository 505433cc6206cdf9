import numpy as np
import pytest

from faceparse.core.datasets.alignment import FARL_512
from faceparse.core.geometry import apply
from faceparse.core.inference import Parser
from faceparse.core.prediction.crops import BOX_SHARE, Crop, crop_picture, face_matrix, paste
from faceparse.core.prediction.faces import Face

RANDOM = np.random.default_rng(0)
TEMPLATE = np.array(FARL_512)


def test_without_faces_the_crop_is_what_the_parser_sees_of_a_photograph(parser: Parser) -> None:
    image = RANDOM.integers(0, 256, (50, 90, 3), dtype=np.uint8)
    (crop,) = crop_picture(image, None, (64, 64))
    ids = RANDOM.integers(0, 11, (64, 64)).astype(np.uint8)
    parsed = paste([ids], [crop], (50, 90))
    for row, column in np.ndindex(50, 90):
        x, y = apply(crop.matrix, np.array([[column, row]], float))[0]
        near = {
            int(ids[min(int(y + b), 63), min(int(x + a), 63)]) for a in (0.45, 0.5, 0.55) for b in (0.45, 0.5, 0.55)
        }
        assert int(parsed.label[row, column]) in near
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


def square_crop(x: int, y: int, side: int) -> Crop:
    """A crop that shows the picture's pixels as they are."""
    return Crop(np.zeros((side, side, 3), np.uint8), np.array([[1.0, 0, -x], [0, 1, -y]]), (x, y, side, side))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_larger_face_wins_but_its_background_does_not(order: tuple[int, int]) -> None:
    large, small = np.zeros((8, 8), np.uint8), np.full((4, 4), 3, np.uint8)
    large[:, :6] = 7
    faces = [(large, square_crop(2, 1, 8)), (small, square_crop(6, 3, 4))]
    labels, crops = zip(*(faces[i] for i in order), strict=True)
    parsed = paste(labels, crops, (10, 12))
    expected = np.zeros((10, 12), np.uint8)
    expected[3:7, 6:10] = 3
    expected[1:9, 2:8] = 7
    assert np.array_equal(parsed.label, expected)
    assert np.array_equal(
        parsed.owner, np.where(expected == 7, order.index(0) + 1, (expected == 3) * (order.index(1) + 1))
    )


def test_faces_may_lie_beyond_the_border() -> None:
    ids = np.full((4, 4), 5, np.uint8)
    parsed = paste([ids] * 3, [square_crop(-2, -3, 4), square_crop(9, 4, 4), square_crop(40, 40, 4)], (6, 10))
    expected = np.zeros((6, 10), np.uint8)
    expected[:1, :2] = expected[4:, 9:] = 5
    assert np.array_equal(parsed.label, expected)


def test_no_faces_are_background() -> None:
    assert not paste([], [], (6, 10)).label.any()
