"""Rectangles and ellipses as polygons."""

import math

import numpy as np

from faceparse.core.annotations.polygon_shape import PolygonShape

CORNERS = 360
"""Corners of an ellipse's polygon: at 1000 pixels across, it is nowhere further off than 0.02 pixels."""


def rectangle(one: tuple[float, float], other: tuple[float, float], degrees: float = 0) -> PolygonShape:
    """The rectangle between two corners (x, y), turned clockwise around its middle."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (high - low) / 2
    return PolygonShape((_turned(corners, degrees) + (low + high) / 2,))


def ellipse(middle: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> PolygonShape:
    """The ellipse around `middle` (x, y), turned clockwise."""
    angles = np.arange(CORNERS) * (2 * math.pi / CORNERS)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    return PolygonShape((_turned(points, degrees) + middle,))


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])
