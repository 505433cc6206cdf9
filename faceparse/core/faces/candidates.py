"""Candidates for faces: pairs of parts that lie to each other as in the training pictures.

A part (an eye, the nose, the mouth) is a peak in the probability of its class. Two parts give a similarity to the
training geometry, which says where the other two parts should be. Their probability there decides about the proposal.
Any two parts will do, so a face in profile, or with a hidden eye, is proposed from the visible parts.
"""

from itertools import combinations

import cv2
import numpy as np

from faceparse.core.faces.geometry import EYES, PARTS, FaceGeometry

MIN_PEAK = 0.12
"""Least probability of a part. It is low because a part of few pixels is never sure."""
MAX_PEAKS = 256
"""Most peaks of each part in one picture."""
MIN_SUPPORT = 0.3
"""Least mean probability of a proposal's best three parts. Proposals below are dropped."""
MAX_ANGLE = np.radians(75)
"""Largest angle between a proposal and an upright face."""
SIZES = (0.62, 1.6)
"""Sides of proposed crops, as shares of the wanted side. The next scale covers what lies beyond."""
APART = 0.25
"""Distance between the middles of two proposals, as a share of the larger side, within which the worse is dropped."""
BLUR = 0.02
"""Standard deviation of the blur before peaks are searched, as a share of the wanted side."""
LEAST_BLUR = 0.6
"""Least standard deviation of that blur, in cells of the map."""
REACH = 0.05
"""Distance around its expected place in which a part is searched, as a share of the crop's side."""


def propose(maps: np.ndarray, geometry: FaceGeometry, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Propose similarities from crops to a picture, best first, with their support. Near twins are merged.

    Args:
        maps: 4 x h x w float32 probabilities of `PARTS`; or 5 x h x w, the last for glasses, which hide eyes.
        side: wanted side of the crop, in pixels of the maps.

    Returns:
        M x 2 complex numbers (a, b): the point z = x + iy of the crop, in shares of its side, lies at a z + b in the
        maps. And M float64, the support.
    """
    template = np.array(geometry.centres) @ (1, 1j)
    parts, glasses = maps[: len(PARTS)], maps[len(PARTS) :]
    peaks = [_peaks(part, BLUR * side) for part in parts]
    reach = 2 * round(REACH * side) + 1
    seen = [np.max([part, *glasses], axis=0) if name in EYES else part for name, part in zip(PARTS, parts, strict=True)]
    near = np.stack([cv2.dilate(part, np.ones((reach, reach), np.uint8)) for part in seen])
    found = []
    for i, j in combinations(range(len(PARTS)), 2):
        if not len(peaks[i]) or not len(peaks[j]):
            continue
        first, second = peaks[i][:, None], peaks[j][None]
        a = (second - first) / (template[j] - template[i])
        size, angle = abs(a), abs(np.angle(a))
        fits = (size > SIZES[0] * side) & (size < SIZES[1] * side) & (angle < MAX_ANGLE)
        a = a[fits]
        found.append(np.stack([a, np.broadcast_to(first, fits.shape)[fits] - a * template[i]], axis=1))
    if not found:
        return np.zeros((0, 2), complex), np.zeros(0)
    proposals = np.concatenate(found)
    support = _support(near, proposals, template)
    order = np.argsort(-support, kind="stable")
    order = order[support[order] >= MIN_SUPPORT]
    kept = merge(proposals[order], template)
    return proposals[order][kept], support[order][kept]


def merge(proposals: np.ndarray, template: np.ndarray, apart: float = APART) -> list[int]:
    """Positions of the proposals to keep, of M x 2, best first.

    A proposal is dropped where the middle of a better one is within `apart` of its side.

    Args:
        template: complex centres of the parts in the crop; their mean is the face's middle.
    """
    middles, sides = proposals[:, 0] * template.mean() + proposals[:, 1], abs(proposals[:, 0])
    kept: list[int] = []
    left = np.ones(len(proposals), bool)
    for position in range(len(proposals)):
        if left[position]:
            kept.append(position)
            larger = np.maximum(sides[position], sides)
            left &= abs(middles - middles[position]) > apart * larger
    return kept


def _support(near: np.ndarray, proposals: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Support of proposals: mean of the three largest probabilities of the parts at their expected places."""
    places = proposals[:, :1] * template + proposals[:, 1:]  # M x 4
    height, width = near.shape[1:]
    x, y = np.rint(places.real).astype(int), np.rint(places.imag).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    seen = near[np.arange(len(PARTS)), y.clip(0, height - 1), x.clip(0, width - 1)] * inside
    return np.asarray(np.sort(seen, axis=1)[:, 1:].mean(axis=1))


def _peaks(part: np.ndarray, sigma: float) -> np.ndarray:
    """Complex places of the highest peaks of an h x w map. Each is the centroid of the 3 x 3 pixels around the peak."""
    smooth = cv2.GaussianBlur(part, (0, 0), max(sigma, LEAST_BLUR))
    highest = (
        (smooth == cv2.dilate(smooth, np.ones((3, 3), np.uint8)))
        & (smooth > MIN_PEAK / 2)
        & (cv2.dilate(part, np.ones((3, 3), np.uint8)) > MIN_PEAK)
    )
    y, x = np.nonzero(highest)
    best = np.argsort(-smooth[y, x], kind="stable")[:MAX_PEAKS]
    y, x = y[best], x[best]
    padded = cv2.copyMakeBorder(smooth, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    around = np.stack([padded[y + dy, x + dx] for dy in range(3) for dx in range(3)])
    steps = np.array([complex(dx - 1, dy - 1) for dy in range(3) for dx in range(3)])
    return np.asarray(x + 1j * y + (around * steps[:, None]).sum(0) / around.sum(0))
