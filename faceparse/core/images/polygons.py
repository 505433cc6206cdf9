"""Turn masks into polygons that run along the edges of pixels, so that nothing is lost.

Coordinates (x, y) are pixel corners: pixel (row, column) is the square from (column, row) to (column + 1, row + 1).
"""

import cv2
import numpy as np


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """H x W bool -> rings, each K x 2 int32 (x, y), not closed by a repeated point.

    Outlines run clockwise as seen on a screen, holes counter-clockwise; a point lies in the mask where an odd number
    of rings surround it. Filled by that rule, the rings give the same mask, pixel for pixel.
    """
    return [ring for part in _parts(mask) for ring in part]


def joined_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """H x W bool -> rings as in `polygons`, but one for each connected part, for formats without holes.

    Pixels that touch at a corner are connected. A cut joins each hole to its outline; the ring follows the cut twice,
    there and back.
    """
    return [_join_holes(*part) for part in _parts(mask)]


def _parts(mask: np.ndarray) -> list[list[np.ndarray]]:
    """Outline and holes of each connected part."""
    # OpenCV walks along pixel centres. With every pixel doubled, its two centres stand for its two edges, and where
    # OpenCV takes a short cut across an inner corner, both ends of that step are the corner.
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, list[np.ndarray]] = {}
    parents = hierarchy.reshape(-1, 4)[:, 3].tolist() if contours else []
    for outline in (index for index, parent in enumerate(parents) if parent < 0):
        parts[outline] = [_ring(contours[outline])]
    for hole, parent in enumerate(parents):
        if parent >= 0:
            parts[parent].append(_ring(contours[hole]))
    return list(parts.values())


def _ring(contour: np.ndarray) -> np.ndarray:
    """OpenCV's contour of the doubled mask -> pixel corners, in the opposite direction."""
    corners = (contour.reshape(-1, 2)[::-1] + 1) // 2
    return corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]


def _join_holes(outline: np.ndarray, *holes: np.ndarray) -> np.ndarray:
    at = [int(((outline - hole[0]) ** 2).sum(axis=1).argmin()) for hole in holes]  # the nearest corner
    visits = [np.concatenate([hole, hole[:1], outline[i : i + 1]]) for hole, i in zip(holes, at, strict=True)]
    pieces, done = [], 0
    for i, visit in sorted(zip(at, visits, strict=True), key=lambda pair: pair[0]):
        pieces += [outline[done : i + 1], visit]
        done = i + 1
    return np.concatenate([*pieces, outline[done:]])
