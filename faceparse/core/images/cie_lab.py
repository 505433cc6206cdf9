"""CIE L*a*b* of sRGB pixels, in float64. OpenCV's conversion is off by up to 0.2 in L*."""

import numpy as np

_ENCODED = np.arange(256) / 255
_LINEAR = np.where(_ENCODED <= 0.04045, _ENCODED / 12.92, ((_ENCODED + 0.055) / 1.055) ** 2.4)
"""Light for each of sRGB's 256 values (IEC 61966-2-1)."""

_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_TO_XYZ /= _TO_XYZ.sum(axis=1, keepdims=True)  # in shares of white, so that greys have exactly no colour


def cie_lab(pixels: np.ndarray) -> np.ndarray:
    """N x 3 float64 of L* (0 black to 100 white), a* (green to red), b* (blue to yellow), for N x 3 uint8 sRGB.

    White is that of sRGB, D65.
    """
    light = _LINEAR[pixels] @ _TO_XYZ.T
    x, y, z = np.where(light > (6 / 29) ** 3, np.cbrt(light), light * (29 / 6) ** 2 / 3 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
