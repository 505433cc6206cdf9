"""The guided filter of He et al. (TPAMI 2013): a mask whose edges follow those of a photograph.

In each window, the mask becomes a linear function of the photograph's colours. The fast form (He and Sun, 2015) finds
these functions in a small picture and applies them to the large one.
"""

import cv2
import numpy as np

from faceparse.core.images.warp import Size

ROWS = 256
"""Rows of the large picture that are in memory as floats at a time."""


def guided_coefficients(guide: np.ndarray, mask: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Linear functions by which colours become the mask, H x W x 4 float32: factors of R, G and B, and an offset.

    Windows end at the picture's border. Each pixel has the mean of the functions of all windows around it.

    Args:
        guide: photograph, H x W x 3 uint8 RGB; its colours count from 0 to 1.
        mask: H x W float32, 0 to 1.
        radius: of the windows, which have 2 * radius + 1 pixels a side.
        eps: variance of the colours below which a window counts as smooth, where the mask is blurred.
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, window, borderType=cv2.BORDER_CONSTANT) / inside

    inside = cv2.blur(np.ones(mask.shape, np.float32), window, borderType=cv2.BORDER_CONSTANT)
    colours = [np.ascontiguousarray(guide[..., i], np.float32) / np.float32(255) for i in range(3)]
    means, mask_mean = [mean(plane) for plane in colours], mean(mask)
    shared = [mean(plane * mask) - plane_mean * mask_mean for plane, plane_mean in zip(colours, means, strict=True)]
    rr, rg, rb, gg, gb, bb = (
        mean(colours[i] * colours[j]) - means[i] * means[j] + (eps if i == j else 0)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    # The inverse of the symmetric 3 x 3 matrix by its cofactors: NumPy's own takes far longer for many small ones.
    inverse = [[gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg]]
    inverse += [[inverse[0][1], rr * bb - rb * rb, rb * rg - rr * gb]]
    inverse += [[inverse[0][2], inverse[1][2], rr * gg - rg * rg]]
    whole = rr * inverse[0][0] + rg * inverse[0][1] + rb * inverse[0][2]
    factors = [sum(row[i] * shared[i] for i in range(3)) / whole for row in inverse]
    offset = mask_mean - sum(factor * plane_mean for factor, plane_mean in zip(factors, means, strict=True))
    return cv2.merge([mean(np.asarray(plane, np.float32)) for plane in (*factors, offset)])


def apply_coefficients(coefficients: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Mask of a photograph (H x W x 3 uint8 RGB) by the linear functions of a smaller one: H x W uint8, 0 to 255."""
    height, width = guide.shape[:2]
    small: Size = (coefficients.shape[0], coefficients.shape[1])
    across, down = small[1] / width, small[0] / height
    mask = np.empty((height, width), np.uint8)
    for top in range(0, height, ROWS):
        part = guide[top : top + ROWS]
        to_small = np.array([[across, 0, across / 2 - 0.5], [0, down, (top + 0.5) * down - 0.5]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        functions = cv2.warpAffine(
            coefficients, to_small, (width, len(part)), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        colours = part.astype(np.float32)
        value = np.einsum("hwc,hwc->hw", functions[..., :3], colours) + 255 * functions[..., 3]
        mask[top : top + ROWS] = np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return mask
