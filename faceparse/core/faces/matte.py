"""A soft mask of some classes at a photograph's full size, with edges to cut along: hair, or the whole head."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from faceparse.core.faces.crops import Crop, crop_region
from faceparse.core.images.guided_filter import apply_coefficients, guided_coefficients
from faceparse.core.images.warp import Size, chain, unwarp_label

DETAIL = 2.0
"""Pixels of the small picture, in which the filter works, for each pixel of the crop."""
RADIUS = 8
"""Radius of the filter's windows, in pixels of the small picture."""
EPS = 1e-3
"""Variance of colours, from 0 to 1, below which a window counts as smooth."""
CONTRAST, CONTRAST_AFTER = 4.0, 1.5
"""Factors on what lies above or below one half, before and after the filter. Networks are less sure than edges are
soft: without the first, half-transparent halos stay around everything. `benchmarks/matte.py` measures all these."""


def matte(
    image: np.ndarray,
    probabilities: Sequence[np.ndarray],
    crops: Sequence[Crop],
    owner: np.ndarray,
    ids: Collection[int],
) -> np.ndarray:
    """Mask of some classes of a photograph, H x W uint8 from 0 (outside) to 255 (inside).

    The network's probabilities are enlarged, and a guided filter makes their edges follow those of the photograph. The
    memory beyond that of a mask does not grow with the photograph: the filter works at the crops' resolution.

    Args:
        image: the photograph, H x W x 3 uint8 RGB.
        probabilities: of the classes in each crop, C x h x w float32 (see `softmax`).
        crops: the crops of the photograph.
        owner: number of the face that a pixel belongs to, as `paste` finds it. A pixel of a face has this face's mask,
            a pixel of the background the largest.
        ids: the classes. With the background among them, the mask is what the others leave: all is background beyond
            the crops.
    """
    if 0 in ids:
        others = [i for i in range(len(probabilities[0]) if probabilities else 0) if i not in ids]
        return cv2.bitwise_not(matte(image, probabilities, crops, owner, others))
    mask = np.zeros(image.shape[:2], np.uint8)
    views: dict[int, list[_View]] = {}
    for crop, one in zip(crops, probabilities, strict=True):
        views.setdefault(crop.face, []).append(_View(crop, one[list(ids)].sum(axis=0)))
    for face, of_face in views.items():
        of_face.sort(key=lambda view: not view.crop.wide)  # the aligned one comes last
        rows, columns = crop_region(of_face[0].crop, (image.shape[0], image.shape[1]))
        part = image[rows, columns]
        if part.size:
            found = _face_mask(part, of_face, rows.start, columns.start)
            there, whose = mask[rows, columns], owner[rows, columns]
            np.copyto(there, np.maximum(there, found), where=(whose == 0) | (whose == face + 1))
    return mask


class _View(NamedTuple):
    crop: Crop
    share: np.ndarray
    """Probability of the wanted classes, h x w."""


def _face_mask(part: np.ndarray, views: Sequence[_View], top: int, left: int) -> np.ndarray:
    """Mask of the part of a photograph that shows a face, whose first pixel is at (left, top) in the photograph."""
    step = max(1.0, float(np.sqrt(1 / abs(np.linalg.det(views[-1].crop.matrix[:, :2])))) / DETAIL)
    height, width = (max(1, round(side / step)) for side in part.shape[:2])
    x, y = part.shape[1] / width, part.shape[0] / height
    to_picture = np.array([[x, 0, x / 2 - 0.5 + left], [0, y, y / 2 - 0.5 + top]])
    share = np.clip(CONTRAST * (_share(views, to_picture, (height, width)) - 0.5) + 0.5, 0, 1)
    guide = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA)
    coefficients = CONTRAST_AFTER * guided_coefficients(guide, share, RADIUS, EPS)
    coefficients[..., 3] += (1 - CONTRAST_AFTER) / 2
    return apply_coefficients(coefficients, part)


def _share(views: Sequence[_View], to_picture: np.ndarray, size: Size) -> np.ndarray:
    """Probability in a picture of `size`, bilinear: later views win where they see it, 0 beyond all."""
    total = np.zeros(size, np.float32)
    for crop, share in views:
        to_crop = chain(to_picture, crop.matrix)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(share, to_crop, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        np.copyto(total, warped, where=unwarp_label(np.ones(share.shape, np.uint8), to_crop, size) != 0)
    return total


def softmax(logits: np.ndarray) -> np.ndarray:
    """C x h x w logits -> probabilities, which sum to 1 over the classes."""
    exponentials = np.exp(logits - logits.max(axis=0))
    return np.asarray(exponentials / exponentials.sum(axis=0))
