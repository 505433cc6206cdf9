import numpy as np
import pytest
from PIL import Image, ImageDraw

from faceparse.core.annotations.nested_outlines import nested_outlines
from tests.core.annotations.labels import two_faces


def drawn(label: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """As a tool draws polygons: one over the other, with their outlines."""
    picture = Image.new("L", label.shape[::-1])
    for outline in nested_outlines(label, owner):
        points = [tuple(point) for point in outline.points.tolist()]
        ImageDraw.Draw(picture).polygon(
            points if len(points) > 1 else points * 2, fill=outline.label, outline=outline.label
        )
    return np.asarray(picture)


@pytest.mark.parametrize("zoom", [1, 2, 5])
def test_the_label_is_drawn_again(zoom: int) -> None:
    random = np.random.default_rng(zoom)
    for classes in (2, 3, 9):
        label = random.integers(0, classes, (20, 24)).astype(np.uint8).repeat(zoom, axis=0).repeat(zoom, axis=1)
        assert np.array_equal(drawn(label, (label != 0).astype(np.uint16)), label)


def test_parts_are_of_one_face_and_background_only_fills_holes() -> None:
    label, owner = two_faces()
    assert np.array_equal(drawn(label, owner), label)
    assert {(one.label, one.owner) for one in nested_outlines(label, owner)} <= set(
        zip(label.ravel().tolist(), owner.ravel().tolist(), strict=True)
    )
    ring = np.pad(np.pad(np.zeros((3, 3), np.uint8), 2, constant_values=1), 4)
    assert [one.label for one in nested_outlines(ring, ring.astype(np.uint16))] == [1, 0]
    assert [one.label for one in nested_outlines(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16))] == []
