"""A picture and its label map, painted together."""

import cv2
import numpy as np
import numpy.typing as npt

from faceparse.core.drawing.backdrop import backdrop
from faceparse.core.drawing.colours import Floats
from faceparse.core.drawing.curves import Points, ellipse
from faceparse.core.drawing.drawn_classes import BACKGROUND
from faceparse.core.drawing.face_parameters import FaceParameters

SUPERSAMPLING = 4  # a pixel's coverage is counted on this many sub-pixels a side
FIXED_POINT_BITS = 6  # precision of the vertices handed to OpenCV

Window = tuple[slice, slice]  # rows, columns


class Canvas:
    """A picture and its label map, painted together with shapes given in the face frame (see `FaceParameters`).

    One similarity maps that frame to pixels (centres at integer coordinates), so the size of a picture changes only its
    resolution. A shape is rasterised once, as the fraction of each pixel that it covers. This coverage blends the image
    and, where it reaches one half, sets the label, so that the two cannot disagree.
    """

    def __init__(self, face: FaceParameters, size: int) -> None:
        cos, sin = np.cos(face.roll), np.sin(face.roll)
        self.unit = face.scale * size  # pixels
        self.rotation = np.array([[cos, -sin], [sin, cos]])
        self.origin = size * np.array(face.centre) - 0.5
        x, y = np.meshgrid(*(np.arange(size) - self.origin[:, None]) / self.unit)
        self.x = (cos * x + sin * y).astype(np.float32)  # coordinates of every pixel, in the face frame
        self.y = (cos * y - sin * x).astype(np.float32)
        self.image = backdrop(face, size)
        self.label = np.full((size, size), BACKGROUND, np.uint8)

    def to_pixels(self, points: Points) -> Points:
        """Map points (N x 2) of the face frame to pixels."""
        return np.asarray(self.unit * points @ self.rotation.T + self.origin)

    def window(self, outline: Points) -> Window:
        """The part of the picture that holds an outline."""
        corners = self.to_pixels(outline)
        low = np.clip(np.floor(corners.min(axis=0)), 0, len(self.label)).astype(int)
        high = np.clip(np.ceil(corners.max(axis=0)) + 1, low, len(self.label)).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def cover(self, outline: Points) -> tuple[Window, Floats]:
        """The window of an outline and how much of each pixel in it lies inside the outline."""
        rows, columns = window = self.window(outline)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if not height * width:
            return window, np.zeros((height, width), np.float32)
        fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
        corners = (self.to_pixels(outline) - (columns.start, rows.start) + 0.5) * SUPERSAMPLING - 0.5
        cv2.fillPoly(fine, [np.rint(corners * 2**FIXED_POINT_BITS).astype(np.int32)], (255,), shift=FIXED_POINT_BITS)
        coverage = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        return window, coverage.astype(np.float32) / np.float32(255)

    def stencil(self, outline: Points) -> Floats:
        """The coverage of an outline over the whole picture, to paint within."""
        mask = np.zeros(self.label.shape, np.float32)
        window, mask[window] = self.cover(outline)
        return mask

    def fill(
        self,
        outline: Points,
        ink: Floats,
        label: int | None = None,
        *,
        opacity: float = 1.0,
        within: Floats | None = None,
    ) -> None:
        """Paint an outline with a colour, or from an image of the picture's size, and label what it covers."""
        window, coverage = self.cover(outline)
        if label is not None:
            self.label[window][coverage >= 0.5] = label
        self._blend(window, ink if ink.ndim == 1 else ink[window], opacity * coverage, within)

    def glow(
        self,
        centre: npt.ArrayLike,
        radii: tuple[float, float],
        ink: Floats,
        opacity: float,
        *,
        within: Floats | None = None,
    ) -> None:
        """Paint a soft ellipse that fades out towards its radii; it has no label."""
        x, y = np.asarray(centre, np.float32)
        window = self.window(ellipse((x, y), radii, steps=16))
        distance = ((self.x[window] - x) / radii[0]) ** 2 + ((self.y[window] - y) / radii[1]) ** 2
        self._blend(window, ink, opacity * np.maximum(1 - distance, 0) ** 2, within)

    def _blend(self, window: Window, ink: Floats, alpha: Floats, within: Floats | None) -> None:
        if within is not None:
            alpha = alpha * within[window]
        patch = self.image[window]
        patch += alpha[..., None] * (ink - patch)
