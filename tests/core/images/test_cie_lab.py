"""L*a*b* against known colours, and against the standard worked out for one pixel at a time."""

import numpy as np
import pytest

from faceparse.core.images.cie_lab import cie_lab


def lab_of(pixel: tuple[int, int, int]) -> tuple[float, float, float]:
    """L*, a*, b* of one sRGB pixel: IEC 61966-2-1, then CIE 15 with D65."""

    def f(t: float) -> float:
        return t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116

    r, g, b = (c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in pixel)
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0890
    return 116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), (0, 0, 0)), ((255, 255, 255), (100, 0, 0)), ((119, 119, 119), (50.03, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)), ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
    ],
)  # fmt: skip
def test_known_colours(colour: tuple[int, int, int], expected: tuple[float, float, float]) -> None:
    (found,) = cie_lab(np.array([colour], np.uint8))
    assert found == pytest.approx(expected, abs=0.03)


def test_any_colour_is_as_the_standard_says() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3)).astype(np.uint8)
    pixels[:50] //= 20  # the dark ones have a formula of their own
    expected = [lab_of((int(r), int(g), int(b))) for r, g, b in pixels]
    assert cie_lab(pixels) == pytest.approx(np.array(expected), abs=0.01)


def test_greys_have_no_colour() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    assert np.abs(cie_lab(greys)[:, 1:]).max() < 1e-9
