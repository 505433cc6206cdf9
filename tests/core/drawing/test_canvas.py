"""A picture and its label map agree."""

import numpy as np

from faceparse.core.drawing.canvas import Canvas
from faceparse.core.drawing.colours import WHITE
from faceparse.core.drawing.curves import ellipse
from faceparse.core.drawing.drawn_classes import SKIN
from faceparse.core.drawing.face_parameters import sample_parameters


def test_label_is_where_the_paint_covers_half_a_pixel() -> None:
    canvas = Canvas(sample_parameters(np.random.default_rng(5)), 128)
    canvas.image[:] = 0
    canvas.fill(ellipse((0.1, 0.2), (0.6, 0.4)), WHITE, SKIN)
    assert np.array_equal(canvas.image[..., 0] >= 127.5, canvas.label == SKIN)
    area = np.pi * 0.6 * 0.4 * canvas.unit**2
    assert np.isclose((canvas.image[..., 0] / 255).sum(), area, rtol=0.02)
    assert np.isclose((canvas.label == SKIN).sum(), area, rtol=0.02)
