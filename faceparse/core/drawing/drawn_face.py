"""Draw faces with exact labels: a picture, its label map and its five points from one random generator."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from faceparse.core.drawing.canvas import Canvas
from faceparse.core.drawing.curves import Points
from faceparse.core.drawing.face_parameters import sample_parameters
from faceparse.core.drawing.outlines import SIDES, landmarks
from faceparse.core.drawing.painting import (
    hair_ink,
    paint_back_hair,
    paint_body,
    paint_brow,
    paint_eye,
    paint_front_hair,
    paint_head,
    paint_mouth,
    paint_nose,
    photograph,
)


@dataclass(frozen=True)
class DrawnFace:
    """A drawn face.

    The points are the centres of the eyes at the image left and right, the tip of the nose, and the mouth corners at
    the image left and right.
    """

    image: npt.NDArray[np.uint8]  # H x W x 3, RGB
    label: npt.NDArray[np.uint8]  # H x W, indices of CLASSES
    points: Points  # 5 x 2, pixels


def draw_face(rng: np.random.Generator, size: int) -> DrawnFace:
    """Draw one random face in a picture of size x size pixels.

        draw_face(np.random.default_rng(0), 256).label

    The result depends only on the state of `rng` and on `size`. From equal states, two sizes show the same face.
    """
    face = sample_parameters(rng)
    canvas = Canvas(face, size)
    strands = hair_ink(canvas, face)
    paint_back_hair(canvas, face, strands)
    paint_body(canvas, face)
    paint_head(canvas, face)
    for side in SIDES:
        paint_eye(canvas, face, side)
        paint_brow(canvas, face, side)
    paint_nose(canvas, face)
    paint_mouth(canvas, face)
    paint_front_hair(canvas, face, strands)
    return DrawnFace(photograph(canvas, face, rng), canvas.label, canvas.to_pixels(landmarks(face)))
