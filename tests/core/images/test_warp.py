import cv2
import numpy as np
import pytest

from faceparse.core.images.warp import apply, chain, enlarge_logits


@pytest.mark.parametrize("angle", [0.0, 30.0])
@pytest.mark.parametrize("zoom", [0.4, 1.0, 3.3])
def test_enlarged_logits_win_as_if_interpolated_one_by_one(zoom: float, angle: float) -> None:
    random = np.random.default_rng(3)
    coarse = random.standard_normal((6, 7, 7)).astype(np.float32)
    logits = np.stack([cv2.resize(plane, (24, 20), interpolation=cv2.INTER_CUBIC) for plane in coarse])
    c, s = np.cos(np.radians(angle)) / zoom, np.sin(np.radians(angle)) / zoom
    matrix = np.array([[c, -s, 2.3], [s, c, 1.1]])
    labels = enlarge_logits(logits, matrix, (40, 50))
    judged = 0
    for row, column in np.ndindex(40, 50):
        x, y = apply(matrix, np.array([[column, row]], float))[0]
        if not (-0.55 < x < 23.55 and -0.55 < y < 19.55):
            assert labels[row, column] == 0
        elif -0.45 < x < 23.45 and -0.45 < y < 19.45:
            value = interpolated(logits, np.clip(x, 0, 23), np.clip(y, 0, 19))
            second, first = np.sort(value)[-2:]
            if first - second > 0.1:  # OpenCV's weights are multiples of 1 / 32
                judged += 1
                assert labels[row, column] == value.argmax()
    assert judged > 40


def interpolated(logits: np.ndarray, x: float, y: float) -> np.ndarray:
    i, j = min(int(y), logits.shape[1] - 2), min(int(x), logits.shape[2] - 2)
    v, u = y - i, x - j
    upper = (1 - u) * logits[:, i, j] + u * logits[:, i, j + 1]
    lower = (1 - u) * logits[:, i + 1, j] + u * logits[:, i + 1, j + 1]
    return np.asarray((1 - v) * upper + v * lower)


def test_a_chain_of_matrices_is_one_after_the_other() -> None:
    random = np.random.default_rng(0)
    first, second, points = random.random((2, 3)), random.random((2, 3)), random.random((4, 2))
    np.testing.assert_allclose(apply(chain(first, second), points), apply(second, apply(first, points)))
