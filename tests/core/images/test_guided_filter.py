"""The filter against its definition: a least-squares fit in every window."""

import numpy as np
import pytest

from faceparse.core.images import guided_filter
from faceparse.core.images.guided_filter import apply_coefficients, guided_coefficients

RANDOM = np.random.default_rng(0)
GUIDE = RANDOM.integers(0, 256, (9, 11, 3), dtype=np.uint8)
MASK = RANDOM.random((9, 11)).astype(np.float32)


def fitted(guide: np.ndarray, mask: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Ridge regression of the mask on the colours in each window, then the mean over the windows around a pixel."""
    height, width = mask.shape

    def window(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(y - radius, 0), y + radius + 1), slice(max(x - radius, 0), x + radius + 1)

    fits = np.zeros((height, width, 4))
    for y, x in np.ndindex(mask.shape):
        colours = guide[window(y, x)].reshape(-1, 3) / 255
        values = mask[window(y, x)].ravel().astype(float)
        centred = colours - colours.mean(axis=0)
        matrix = centred.T @ centred / len(values) + eps * np.eye(3)
        factors = np.linalg.solve(matrix, centred.T @ (values - values.mean()) / len(values))
        fits[y, x] = [*factors, values.mean() - factors @ colours.mean(axis=0)]
    return np.array([[fits[window(y, x)].mean(axis=(0, 1)) for x in range(width)] for y in range(height)])


@pytest.mark.parametrize(("radius", "eps"), [(1, 1e-2), (2, 1e-3), (20, 1e-1)])
def test_each_window_is_a_least_squares_fit(radius: int, eps: float) -> None:
    found = guided_coefficients(GUIDE, MASK, radius, eps)
    assert found.dtype == np.float32
    assert np.abs(found - fitted(GUIDE, MASK, radius, eps)).max() < 1e-3


def test_functions_of_the_same_size_are_applied_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided_filter, "ROWS", 4)  # strips must not show
    functions = (RANDOM.random((9, 11, 4)) / 3).astype(np.float32)
    expected = (functions[..., :3] * GUIDE).sum(axis=2) + 255 * functions[..., 3]
    assert np.abs(apply_coefficients(functions, GUIDE) - np.clip(expected, 0, 255)).max() <= 0.51


def test_functions_of_a_smaller_picture_are_enlarged_with_their_pixels_in_place() -> None:
    ramp = np.zeros((10, 20, 4), np.float32)
    ramp[..., 3] = (np.arange(20) + 0.5) / 20  # from edge to edge
    found = apply_coefficients(ramp, np.zeros((40, 80, 3), np.uint8))
    expected = 255 * np.clip((np.arange(80) + 0.5) / 80, 0.5 / 20, 19.5 / 20)
    assert np.abs(found - expected).max() < 1


def test_a_blurred_mask_gets_the_photographs_edge() -> None:
    guide = np.full((40, 40, 3), 30, np.uint8)
    guide[:, 20:] = (200, 150, 90)
    blurred = np.clip((np.arange(40) - 13) / 12, 0, 1).astype(np.float32) * np.ones((40, 1), np.float32)
    found = apply_coefficients(guided_coefficients(guide, blurred, 8, 1e-4), guide) / 255
    steps = np.abs(np.diff(found[20]))
    assert steps.argmax() == 19
    assert steps.max() > 0.5


def test_a_constant_mask_stays_whatever_the_photograph_shows() -> None:
    for value in (0, 1):
        mask = np.full((9, 11), value, np.float32)
        assert (apply_coefficients(guided_coefficients(GUIDE, mask, 2, 1e-3), GUIDE) == 255 * value).all()
