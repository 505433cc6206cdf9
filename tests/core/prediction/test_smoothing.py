import numpy as np
import pytest
import torch

from faceparse.core.errors import SettingsError
from faceparse.core.faces.crops import Crop
from faceparse.core.prediction.smoothing import Box, Flicker, Smoother, check_keep, overlap

RANDOM = np.random.default_rng(0)


def crop(box: Box) -> Crop:
    return Crop(np.zeros((2, 2, 3), np.uint8), np.eye(2, 3), box)


def softmax(logits: torch.Tensor) -> np.ndarray:
    powers = np.exp(logits.double().numpy())
    return powers / powers.sum(axis=0)


def test_probabilities_are_averaged_over_frames() -> None:
    torch.manual_seed(0)
    frames = [torch.randn(3, 4, 5) for _ in range(4)]
    smoother = Smoother(0.8)
    expected = softmax(frames[0])
    for i, logits in enumerate(frames):
        (found,) = smoother([crop((i, i, 20, 20))], [logits])  # it moves by a pixel
        expected = 0.8 * expected + 0.2 * softmax(logits) if i else expected
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_faces_are_told_by_their_boxes_and_new_ones_start_anew() -> None:
    torch.manual_seed(1)
    left, right, new = (0.0, 0.0, 20.0, 20.0), (50.0, 0.0, 20.0, 20.0), (200.0, 0.0, 20.0, 20.0)
    a, b, c, d, e = (torch.randn(3, 2, 2) for _ in range(5))
    smoother = Smoother(0.5)
    smoother([crop(left), crop(right)], [a, b])
    found = smoother([crop(right), crop(new), crop(left)], [c, d, e])
    for one, expected in zip(
        found, [(softmax(b) + softmax(c)) / 2, softmax(d), (softmax(a) + softmax(e)) / 2], strict=True
    ):
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-6)
    smoother([], [])
    (forgotten,) = smoother([crop(left)], [a])
    np.testing.assert_allclose(forgotten.numpy(), softmax(a), atol=1e-6)


def test_overlap_is_intersection_over_union() -> None:
    one, other = np.zeros((2, 30, 30), bool)
    one[2:12, 3:15] = other[5:20, 10:18] = True
    assert overlap((3, 2, 12, 10), (10, 5, 8, 15)) == pytest.approx((one & other).sum() / (one | other).sum())
    assert overlap((0, 0, 4, 4), (4, 4, 4, 4)) == 0


def test_flicker_counts_changes_where_the_picture_holds_still() -> None:
    frames = RANDOM.integers(0, 256, (4, 9, 7), dtype=np.uint8)
    frames[1:, :5] = frames[0, :5]
    frames[2, 0] = np.clip(frames[0, 0].astype(int) + 5, 0, 255)  # hardly changes
    labels = RANDOM.integers(0, 3, (2, 4, 9, 7)).astype(np.uint8)
    flicker = Flicker()
    for i in range(4):
        flicker.add(np.repeat(frames[i, ..., None], 3, axis=2), labels[0, i], labels[1, i])
    still, changed = 0, [0, 0]
    for i in range(1, 4):
        for place in np.ndindex(9, 7):
            if abs(int(frames[i][place]) - int(frames[i - 1][place])) <= 5:
                still += 1
                for k in range(2):
                    changed[k] += labels[k, i][place] != labels[k, i - 1][place]
    assert flicker.shares == pytest.approx([changed[0] / still, changed[1] / still])


def test_one_frame_does_not_flicker() -> None:
    flicker = Flicker()
    flicker.add(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    assert flicker.shares is None


@pytest.mark.parametrize("keep", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(SettingsError, match=r"^--smooth \S+: from 0 .* to less than 1, such as 0.8$"):
        check_keep(keep)
