import math

import numpy as np
import pytest

from faceparse.core.annotations.polygon_shape import PolygonShape
from faceparse.core.annotations.round_shapes import ellipse, rectangle


def mask(shape: PolygonShape) -> np.ndarray:
    part, whole = shape.part((60, 80)), np.zeros((60, 80), bool)
    whole[part.rows, part.columns] = part.inside
    return whole


def test_a_rectangle_has_its_pixels() -> None:
    expected = np.zeros((60, 80), bool)
    expected[10:30, 20:50] = True
    assert np.array_equal(mask(rectangle((50, 10), (20, 30))), expected)
    assert np.array_equal(mask(rectangle((25, 5), (45, 35), 90)), expected)


@pytest.mark.parametrize("degrees", [0, 30, 200])
def test_an_ellipse_is_where_its_equation_holds(degrees: float) -> None:
    y, x = np.mgrid[:60, :80] + 0.5
    a = math.radians(degrees)
    along, across = (x - 41) * math.cos(a) + (y - 30) * math.sin(a), (y - 30) * math.cos(a) - (x - 41) * math.sin(a)
    expected = (along / 25) ** 2 + (across / 12) ** 2 <= 1
    assert np.count_nonzero(mask(ellipse((41, 30), (25, 12), degrees)) != expected) <= 12  # rounded to fifths
