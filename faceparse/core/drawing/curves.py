"""Curves and closed outlines of any shape, as points."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # N x 2, (x, y)
Scalars = npt.NDArray[np.float64]  # N


def spline(knots: npt.ArrayLike, *, closed: bool = True, steps: int = 10) -> Points:
    """The Catmull-Rom curve through the knots (N x 2), `steps` points between two knots."""
    inner = np.asarray(knots, np.float64)
    before, after = (inner[-1:], inner[:2]) if closed else (2 * inner[:1] - inner[1:2], 2 * inner[-1:] - inner[-2:-1])
    padded = np.concatenate([before, inner, after])
    a, b, c, d = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return np.concatenate([curve.reshape(-1, 2), inner[:0] if closed else inner[-1:]])


def mirrored(half: Sequence[tuple[float, float]]) -> Points:
    """A closed outline from the knots of its right half, the first and the last of which lie on the axis x = 0."""
    right = np.asarray(half, np.float64)
    return spline(np.concatenate([right, right[-2:0:-1] * (-1, 1)]))


def ellipse(centre: npt.ArrayLike, radii: tuple[float, float], steps: int = 40) -> Points:
    """The outline of an upright ellipse, as `steps` points."""
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.asarray(centre) + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii


def ribbon(line: Points, width: npt.ArrayLike) -> Points:
    """The outline of a stroke along a line (N x 2), of the given full width at each of its points."""
    tangent = np.gradient(line, axis=0)
    normal = tangent[:, ::-1] * (-1, 1) / np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = 0.5 * np.broadcast_to(width, len(line))[:, None] * normal
    return np.concatenate([line - offset, (line + offset)[::-1]])


def between(start: Points, end: Points) -> Points:
    """The outline between two edges that run the same way, each N x 2."""
    return np.concatenate([start, end[::-1]])


def centroid(outline: Points) -> Points:
    """The centre of area of an outline, (x, y)."""
    following = np.roll(outline, -1, axis=0)
    cross = outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]
    return np.asarray(((outline + following) * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


def arc(steps: int) -> Scalars:
    """Parameters from -1 to 1, dense near the ends, where lids and lips bend most."""
    return np.asarray(-np.cos(np.linspace(0, np.pi, steps)))


def dome(t: Scalars, power: float) -> Scalars:
    """1 at t = 0, falling to 0 at t = -1 and 1. A lower power gives blunter ends."""
    return np.asarray(np.maximum(1 - t**2, 0.0) ** power)
