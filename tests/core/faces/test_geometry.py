import numpy as np
import pytest

from faceparse.core.faces.geometry import CONSISTENT, FaceGeometry, read_geometry, square_to_crop, summarise
from faceparse.core.images.warp import apply

RANDOM = np.random.default_rng(0)


def measured(count: int, spread: float) -> FaceGeometry:
    centres = [np.array([(0.4, 0.5), (0.6, 0.5), (0.5, 0.6), (0.5, 0.7)]) for _ in range(count)]
    noisy = [centre + spread * RANDOM.standard_normal((4, 2)) for centre in centres]
    geometry = summarise(noisy, [np.full((5, 2), 0.5)] * count, [np.full(4, 0.01)] * count)
    assert geometry is not None
    return geometry


def test_means_and_spreads_are_those_of_the_pictures() -> None:
    centres = [RANDOM.random((4, 2)) for _ in range(5)]
    points = [RANDOM.random((5, 2)) for _ in range(5)]
    geometry = summarise(centres, points, [RANDOM.random(4)] * 5)
    assert geometry is not None
    for k in range(4):
        for axis in range(2):
            values = [one[k, axis] for one in centres]
            mean = sum(values) / 5
            assert geometry.centres[k][axis] == pytest.approx(mean, abs=1e-5)
            deviation = (sum((value - mean) ** 2 for value in values) / 5) ** 0.5
            assert geometry.spread[k][axis] == pytest.approx(deviation, abs=1e-5)
    assert geometry.points[4][1] == pytest.approx(np.mean([one[4, 1] for one in points]), abs=1e-5)
    assert geometry.count == 5


def test_one_picture_tells_nothing() -> None:
    assert summarise([np.zeros((4, 2))], [np.zeros((5, 2))], [np.zeros(4)]) is None


@pytest.mark.parametrize(("spread", "consistent"), [(CONSISTENT / 3, True), (2 * CONSISTENT, False)])
def test_pictures_are_aligned_where_their_points_hardly_scatter(spread: float, consistent: bool) -> None:
    assert measured(200, spread).consistent is consistent


def test_it_survives_a_file() -> None:
    geometry = measured(20, 0.01)
    assert read_geometry(geometry.to_dict()) == geometry
    assert read_geometry(None) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"centres": [[0.1, 0.2]]}, "centres is not 4 points"),
        ({"points": [[float("nan"), 0.0]] * 5}, "points is not 5 points"),
        ({"areas": [0.1, 0.1, 0.1, 2.0]}, "areas is not 4 shares"),
        ({"spread": "wide"}, "could not convert"),
    ],
)
def test_what_is_no_geometry_is_refused(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_geometry(measured(3, 0.01).to_dict() | change)
    with pytest.raises(ValueError, match="geometry lacks 'points'"):
        read_geometry({"centres": [[0.1, 0.2]] * 4, "count": 1})


@pytest.mark.parametrize("size", [(64, 64), (100, 60), (60, 100)])
def test_the_square_has_the_crops_longer_side_and_its_middle(size: tuple[int, int]) -> None:
    corners = apply(square_to_crop(size), np.array([[0.0, 0], [1, 1], [0.5, 0.5]]))
    assert (corners[1] - corners[0]).tolist() == [max(size) - 1] * 2
    np.testing.assert_allclose(corners[2], [(size[1] - 1) / 2, (size[0] - 1) / 2])
