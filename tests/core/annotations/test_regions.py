import numpy as np

from faceparse.core.annotations.polygon_shape import PolygonShape
from faceparse.core.annotations.regions import AnnotatedPhotograph, Region
from tests.core.annotations.labels import HELEN


def square(name: str, at: float) -> Region:
    corners = np.array([[0, 0], [4, 0], [4, 4], [0, 4]]) + at
    return Region(name, PolygonShape((corners,)), "0")


def test_later_regions_lie_over_earlier_ones() -> None:
    names = ["skin", "nose", "__ignore__", "hair", "_background_"]
    regions = tuple(square(name, 2 * i) for i, name in enumerate(names))
    label = AnnotatedPhotograph(("a.jpg",), (16, 16), regions, "a.json").draw(HELEN, (1, 1)).label
    assert np.diagonal(label).tolist() == [1, 1, 6, 6, 255, 255, 10, 10, 0, 0, 0, 0, 0, 0, 0, 0]


def test_a_class_may_be_called_ignored() -> None:
    own = HELEN.model_copy(update={"classes": {"background": "#000000", "ignored": "#ffffff"}})
    label = AnnotatedPhotograph(("a.jpg",), None, (square("ignored", 0),), "a.json").draw(own, (4, 5)).label
    assert label.tolist() == [[1, 1, 1, 1, 0]] * 4
