"""The tree finds exactly what a comparison of all pairs finds."""

import cv2
import numpy as np
import pytest

from faceparse.core.checking.near_copies import BLOCK, COARSE, DETAIL, NearCopies, equal_thumbnails


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Thumbnails that differ: random spots over one common ramp, which makes their means alike."""
    random = np.random.default_rng(seed)
    spots = random.normal(0, 25, (count, 32, 32)) + np.linspace(60, 190, 32)
    return np.clip(spots, 0, 255).astype(np.uint8)


def altered(thumbnails: np.ndarray, strength: float, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.clip(0.9 * thumbnails + random.normal(0, strength, thumbnails.shape), 0, 255).astype(np.uint8)


def correlations(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the means and of the rest, of all pairs, one picture at a time, in double precision."""
    means, rests = [], []
    for grey in thumbnails.astype(float):
        mean = cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA)
        rest = grey - np.kron(mean, np.ones((4, 4)))
        mean = mean - mean.mean()
        means.append(mean.ravel() / (np.linalg.norm(mean) or 1))
        rests.append(rest.ravel() / (np.linalg.norm(rest) or 1))
    return np.array(means) @ np.array(means).T, np.array(rests) @ np.array(rests).T


def test_every_pair_is_found_and_no_other() -> None:
    """Among them many that are only just near enough, and many that are not quite."""
    base = noise(20)
    grades = [altered(base, strength, seed) for seed, strength in enumerate((0.5, 2, 4, 5, 5.5, 6, 7, 10), 1)]
    thumbnails = np.concatenate([base, *grades])
    coarse, detail = correlations(thumbnails)
    expected = (coarse >= COARSE) & (detail >= DETAIL) & ~np.eye(len(thumbnails), dtype=bool)
    assert 60 < expected.sum() < len(base) * 9 * 8  # neither all grades nor none
    near = NearCopies(thumbnails)
    accompanied = set(near.accompanied().tolist())
    for i, row in enumerate(expected):
        found, distances = near.of(i)
        assert found.tolist() == np.flatnonzero(row).tolist()
        assert distances == pytest.approx(1 - detail[i, found], abs=1e-5)
        assert i in accompanied or not len(found)


def test_what_is_left_out_is_not_found() -> None:
    thumbnails = np.concatenate([noise(5), altered(noise(5), 1, 1), altered(noise(5), 1, 2)])
    near = NearCopies(thumbnails)
    assert near.of(2)[0].tolist() == [7, 12]
    assert near.of(2, among=np.arange(15) > 7)[0].tolist() == [12]


def test_pictures_that_have_no_copy_are_known_beforehand() -> None:
    """Across blocks, where pictures differ on few axes, as those of cameras do; white noise differs on all alike."""
    random = np.random.default_rng(0)
    waves = np.linalg.qr(random.normal(size=(1024, 8)))[0]
    spots = 1000 * random.normal(size=(BLOCK + 20, 8)) @ waves.T + 128
    pictures = np.clip(spots, 0, 255).astype(np.uint8).reshape(-1, 32, 32)
    near = NearCopies(np.concatenate([pictures, altered(pictures[-1:], 1)]))
    assert len(near.accompanied()) < BLOCK / 2
    assert {BLOCK + 19, BLOCK + 20} <= set(near.accompanied().tolist())


def test_a_thumbnail_without_contrast_has_no_copies() -> None:
    flat = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 1, 255)])
    for near in (NearCopies(flat), NearCopies(np.concatenate([flat, noise(4)]))):
        assert near.accompanied().tolist() == []
        assert near.of(1)[0].tolist() == []


def test_nothing_has_no_copies() -> None:
    assert NearCopies(np.empty((0, 32, 32), np.uint8)).accompanied().tolist() == []
    assert equal_thumbnails(np.empty((0, 32, 32), np.uint8)) == []


def test_equal_thumbnails_are_put_together_except_flat_ones() -> None:
    one, other = noise(2)
    black = np.zeros((32, 32), np.uint8)
    assert equal_thumbnails(np.stack([one, black, other, one, black])) == [[0, 3], [1], [2], [4]]
