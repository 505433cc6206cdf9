"""Finds near-duplicates by grey thumbnails: pictures that were re-encoded, resized or brightened.

The 8 x 8 means of two copies correlate, whatever their brightness and contrast. The means of aligned faces of two
people may correlate as well. So a pair counts only if the detail that the means leave out agrees, too.

Two unit vectors that correlate are near each other, and so are their projections on any axes. So a k-d tree of short
projections finds every pair that can count, without a comparison of all pairs, and the thumbnails decide. Nothing is
missed. The time is less than quadratic where few projections agree by chance, as those of photographs do; white noise
is the worst. Memory grows with the number of pictures.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree

SIDE, CELLS = 32, 8
COARSE, DETAIL = 0.96, 0.97
"""Smallest correlation of two copies' means, and of their detail. Measured on 64 photographs (FASSEG): copies reach at
least 0.996 and 0.992, two shots of one man 0.986 and 0.954, other pairs at most 0.97 and 0.89."""
MIN_CONTRAST = 1.0
"""Standard deviation in grey levels below which there is nothing to compare."""
BLOCK = 2048
"""Thumbnails that are compared at a time."""
COARSE_AXES, DETAIL_AXES = 6, 10
"""Axes that means and detail are projected on: most of what tells pictures apart, in few enough numbers for a tree."""
SAMPLE = 512
"""Thumbnails that the axes are chosen by."""
ROUNDING = 1e-3
"""Room for rounding in a distance between projections, as a share of the largest that counts."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Grey thumbnail, 32 x 32 uint8, of an H x W x 3 uint8 RGB image."""
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def equal_thumbnails(thumbnails: np.ndarray) -> list[list[int]]:
    """Positions of N x 32 x 32 thumbnails, those of equal ones in one list. Lists and positions are in order.

    A thumbnail without contrast is equal to no other: all black photographs would be one.
    """
    found: dict[bytes | int, list[int]] = {}
    contrast = np.concatenate([_has_contrast(features(block)) for block in _blocks(thumbnails)] or [np.empty(0)])
    for position, (grey, compared) in enumerate(zip(thumbnails, contrast, strict=True)):
        found.setdefault(grey.tobytes() if compared else position, []).append(position)
    return list(found.values())


class NearCopies:
    """The near-duplicates of each of many thumbnails, all of which differ.

    near = NearCopies(thumbnails)  # N x 32 x 32 uint8
    for i in near.accompanied():
        copies, distances = near.of(i)
    """

    def __init__(self, thumbnails: np.ndarray) -> None:
        self._thumbnails = thumbnails
        axes = _axes(thumbnails)
        keys = [_keys(block, axes) for block in _blocks(thumbnails)]
        self._keys = np.concatenate(keys) if keys else np.empty((0, 1))
        self._compared = np.flatnonzero(np.isfinite(self._keys).all(axis=1))
        self._tree = cKDTree(self._keys[self._compared]) if len(self._compared) else None

    def accompanied(self) -> np.ndarray:
        """Positions of the thumbnails that may have near-duplicates, in order. All others have none."""
        if self._tree is None:
            return np.empty(0, int)
        distances, _ = self._tree.query(self._keys[self._compared], k=[2], distance_upper_bound=_REACH)
        return self._compared[np.isfinite(distances[:, 0])]

    def of(self, position: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions of one thumbnail's near-duplicates, in order, and their distances: 1 - correlation of the detail.

        Args:
            among: N bool; where it is False, thumbnails are left out, and take no time.
        """
        if self._tree is None or not np.isfinite(self._keys[position]).all():
            return np.empty(0, int), np.empty(0, np.float32)
        near = self._compared[np.sort(self._tree.query_ball_point(self._keys[position], _REACH))]
        near = near[(near != position) & (True if among is None else among[near])]
        coarse, detail = features(self._thumbnails[[position]])
        found, distances = [near[:0]], [np.empty(0, np.float32)]
        for block in _blocks(near):
            means, rest = features(self._thumbnails[block])
            alike = rest @ detail[0]
            copies = (means @ coarse[0] >= COARSE) & (alike >= DETAIL)
            found.append(block[copies])
            distances.append(np.maximum(0, 1 - alike[copies]))
        return np.concatenate(found), np.concatenate(distances)


_FARTHEST = np.sqrt([2 - 2 * COARSE, 2 - 2 * DETAIL])
"""Largest distance between two copies' means, and between their detail, as unit vectors."""
_REACH = float(np.sqrt(2) * (1 + ROUNDING))
"""Largest distance between two copies' keys: each of their two parts is scaled so that it is at most 1 apart."""


def _axes(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes (64 x A and 1024 x B) on which the means and the detail of these thumbnails vary most."""
    step = max(1, len(thumbnails) // SAMPLE)  # spread over all, and no chance: the same input has the same keys
    coarse, detail = features(thumbnails[::step][:SAMPLE])
    return _main_axes(coarse, COARSE_AXES), _main_axes(detail, DETAIL_AXES)


def _main_axes(vectors: np.ndarray, count: int) -> np.ndarray:
    if not len(vectors):
        return np.empty((vectors.shape[1], 0))
    return np.linalg.svd(vectors.astype(np.float64) - vectors.mean(axis=0), full_matrices=False)[2][:count].T


def _keys(thumbnails: np.ndarray, axes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Project N x 32 x 32 on the axes: N x (A + B), scaled; infinite where there is nothing to compare."""
    parts = features(thumbnails)
    keys = np.hstack([part @ axis / far for part, axis, far in zip(parts, axes, _FARTHEST, strict=True)])
    keys[~_has_contrast(parts)] = np.inf
    return keys


def _has_contrast(parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Whether there is something to compare in the means, and in the detail: N bool."""
    return np.all([part.any(axis=1) for part in parts], axis=0)


def _blocks(items: np.ndarray) -> list[np.ndarray]:
    return np.split(items, range(BLOCK, len(items), BLOCK)) if len(items) else []


def features(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 8 x 8 means (N x 64) of N x 32 x 32 and the rest (N x 1024): unit vectors, float32."""
    grey = thumbnails.astype(np.float32)
    size = SIDE // CELLS
    cells = grey.reshape(len(grey), CELLS, size, CELLS, size)
    means = cells.mean(axis=(2, 4), keepdims=True)
    detail = (cells - means).reshape(len(grey), SIDE**2)
    coarse = means.reshape(len(grey), CELLS**2)
    return _unit(coarse - coarse.mean(axis=1, keepdims=True)), _unit(detail)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1; to length 0, which correlates with nothing, where there is no contrast."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = length < MIN_CONTRAST * np.sqrt(vectors.shape[1])
    return np.where(flat, 0, vectors / np.where(flat, 1, length)).astype(np.float32)
