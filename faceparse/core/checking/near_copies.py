"""Finds near-duplicates by grey thumbnails: pictures that were re-encoded, resized or brightened.

The 8 x 8 means of two copies correlate, whatever their brightness and contrast. The means of aligned faces of two
people may correlate as well. So a pair counts only if the detail that the means leave out agrees, too.

Two unit vectors that correlate are near each other, and so are their projections on any axes. The means, and short
projections of the detail, are a key of each picture. The product of two keys tells whether a pair can count, and the
thumbnails of these few pairs decide. Nothing is missed. The time grows with the square of the number of pictures, but
it is that of one product of matrices.
"""

import cv2
import numpy as np

SIDE, CELLS = 32, 8
COARSE, DETAIL = 0.96, 0.97
"""Smallest correlation of two copies' means, and of their detail. Measured on 64 photographs (FASSEG): copies reach at
least 0.996 and 0.992, two shots of one man 0.986 and 0.954, other pairs at most 0.97 and 0.89."""
MIN_CONTRAST = 1.0
"""Standard deviation in grey levels below which there is nothing to compare."""
BLOCK = 2048
"""Thumbnails that are compared at a time."""
AHEAD = 64
"""Pictures whose keys are compared with all others at a time, when their near-duplicates are asked for."""
DETAIL_AXES = 32
"""Axes that the detail is projected on: most of what tells pictures apart."""
SAMPLE = 512
"""Thumbnails that the axes are chosen by."""
ROUNDING = 1e-3
"""Room for rounding in the product of two keys."""


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
        keys = np.concatenate([_keys(block, axes) for block in _blocks(thumbnails)] or [np.empty((0, 1), np.float32)])
        self._compared = np.flatnonzero(np.isfinite(keys).all(axis=1))
        keys = keys[self._compared]
        half, one = -(keys**2).sum(axis=1, keepdims=True) / 2, np.ones((len(keys), 1), np.float32)
        # The product of a row of one with a row of the other is minus half the squared distance between two keys.
        self._left, self._right = np.hstack([keys, half, one]), np.hstack([keys, one, half])
        self._accompanied = self._compared[self._have_near()]
        self._ahead: dict[int, np.ndarray] = {}

    def _have_near(self) -> np.ndarray:
        """Whether another key is near enough: bool, of those that are compared."""
        found = np.zeros(len(self._left), bool)
        for start in range(0, len(found), BLOCK):
            for other in range(start, len(found), BLOCK):  # each pair of blocks once
                near = self._left[start : start + BLOCK] @ self._right[other : other + BLOCK].T
                if start == other:
                    np.fill_diagonal(near, -np.inf)
                found[start : start + BLOCK] |= near.max(axis=1) >= _NEAR
                found[other : other + BLOCK] |= near.max(axis=0) >= _NEAR
        return found

    def accompanied(self) -> np.ndarray:
        """Positions of the thumbnails that may have near-duplicates, in order. All others have none."""
        return self._accompanied

    def of(self, position: int, among: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Positions of one thumbnail's near-duplicates, in order, and their distances: 1 - correlation of the detail.

        Args:
            among: N bool; where it is False, thumbnails are left out, and take no time.
        """
        near = self._near(position, among)
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

    def _near(self, position: int, among: np.ndarray | None) -> np.ndarray:
        """Positions whose keys are near, in order. Those of the next positions are found in the same product."""
        if position not in self._ahead:
            next_ = np.searchsorted(self._accompanied, position)
            asked = self._accompanied[next_ : next_ + 4 * AHEAD]
            asked = asked[(asked == position) | (False if among is None else among[asked])][:AHEAD]
            rows = self._left[np.searchsorted(self._compared, asked)] @ self._right.T >= _NEAR
            self._ahead = {one: self._compared[row] for one, row in zip(asked.tolist(), rows, strict=True)}
        return self._ahead.pop(position, self._compared[:0])


_FARTHEST = np.sqrt([2 - 2 * COARSE, 2 - 2 * DETAIL])
"""Largest distance between two copies' means, and between their detail, as unit vectors."""
_NEAR = -1 - ROUNDING
"""Smallest product of two copies' keys: each of their two parts is scaled so that it is at most 1 apart."""


def _axes(thumbnails: np.ndarray) -> np.ndarray:
    """Orthonormal axes (1024 x A) on which the detail of these thumbnails varies most."""
    step = max(1, len(thumbnails) // SAMPLE)  # spread over all, and no chance: the same input has the same keys
    _, detail = features(thumbnails[::step][:SAMPLE])
    if not len(detail):
        return np.empty((detail.shape[1], 0))
    return np.linalg.svd(detail.astype(np.float64) - detail.mean(axis=0), full_matrices=False)[2][:DETAIL_AXES].T


def _keys(thumbnails: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Key of each of N x 32 x 32: N x (64 + A) float32; infinite where there is nothing to compare."""
    means, detail = features(thumbnails)
    keys = np.hstack([means / _FARTHEST[0], detail @ axes / _FARTHEST[1]]).astype(np.float32)
    keys[~_has_contrast((means, detail))] = np.inf
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
