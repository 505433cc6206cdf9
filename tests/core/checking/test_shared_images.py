"""Copies are found whatever was done to them, and other faces are not taken for copies."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceparse.core.checking.near_copies import BLOCK, thumbnail
from faceparse.core.checking.shared_images import Picture, shared_images
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.images.encoding import encode_jpeg
from faceparse.core.images.read_photograph import read_image
from tests.conftest import PHOTOGRAPHS


def encoded(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encode_jpeg(image, quality), np.uint8), cv2.IMREAD_COLOR_RGB)


def resized(image: np.ndarray, scale: float) -> np.ndarray:
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


def brightened(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    return np.clip(gain * image.astype(np.float32) + offset, 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "quality 80": lambda image: encoded(image, 80),
    "quality 30": lambda image: encoded(image, 30),
    "half the size": lambda image: encoded(resized(image, 0.5), 90),
    "larger": lambda image: resized(image, 1.6),
    "brighter": lambda image: brightened(image, 1.0, 15),
    "darker": lambda image: brightened(image, 0.8, 0),
    "all of it": lambda image: encoded(brightened(resized(image, 0.7), 1.05, 5), 60),
}


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    source = Synthetic(count=40, size=128, seed=2)
    return [np.asarray(source.load(item).image) for item in source.items()]


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Those of the test set: 50 that are all different."""
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"the real photographs are not at {PHOTOGRAPHS}")
    return [read_image(path) for path in sorted((PHOTOGRAPHS / "Test_RGB").glob("[0-9]*.bmp"))]


def pictures(**splits: Sequence[np.ndarray]) -> list[Picture]:
    return [
        Picture(split, Path(f"{split}_{i}"), f"{split} {i}", thumbnail(image))
        for split, images in splits.items()
        for i, image in enumerate(images)
    ]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["drawn", "photographs"])
def test_each_changed_copy_is_found_and_nothing_else(kind: str, change: str, request: pytest.FixtureRequest) -> None:
    images: list[np.ndarray] = request.getfixturevalue(kind)
    copies = [CHANGES[change](image) for image in images[::2]]
    assert shared_images(pictures(train=images, test=copies)) == [
        f"train_{2 * i}, test_{i}: nearly the same image in train and test; scores would be inflated"
        for i in range(len(copies))
    ]


@pytest.mark.parametrize("kind", ["drawn", "photographs"])
def test_other_faces_are_not_copies(kind: str, request: pytest.FixtureRequest) -> None:
    images: list[np.ndarray] = request.getfixturevalue(kind)
    apart = {f"split{i}": [image] for i, image in enumerate(images)}  # each against each other
    assert shared_images(pictures(**apart)) == []


def test_two_shots_of_one_man_are_not_copies(photographs: list[np.ndarray]) -> None:
    """The nearest pair of the photographs: same man, same light, another expression."""
    twins = [thumbnail(image).ravel().astype(float) for image in photographs]
    correlation = np.corrcoef(twins) - np.eye(len(twins))
    one, other = np.unravel_index(correlation.argmax(), correlation.shape)
    assert correlation[one, other] > 0.96
    assert shared_images(pictures(train=[photographs[one]], test=[photographs[other]])) == []


def test_copies_within_a_split_are_its_own_affair(drawn: list[np.ndarray]) -> None:
    assert shared_images(pictures(train=[drawn[0], encoded(drawn[0], 80)], test=drawn[1:3])) == []


def test_three_splits_in_one_line(drawn: list[np.ndarray]) -> None:
    found = shared_images(
        pictures(train=drawn[:2], val=[encoded(drawn[1], 80)], test=[drawn[5], encoded(drawn[1], 60)])
    )
    assert found == [
        "train_1, val_0, test_1: nearly the same image in train and val and test; scores would be inflated"
    ]


def test_flat_pictures_are_not_compared() -> None:
    flat = [np.full((40, 40, 3), value, np.uint8) for value in (0, 255, 90)]
    assert shared_images(pictures(train=flat, val=flat)) == []


def test_pictures_that_could_not_be_read_are_compared_by_name() -> None:
    unread = [Picture(split, Path(name), None, None) for split, name in (("train", "a"), ("val", "b"), ("test", "a"))]
    assert shared_images(unread) == ["a: the same image in train and test; scores would be inflated"]


def test_copies_are_found_across_blocks(drawn: list[np.ndarray]) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (BLOCK + 10, 32, 32), dtype=np.uint8)
    noise[BLOCK + 5] = thumbnail(drawn[0])
    many = [Picture("train", Path(f"train_{i}"), str(i), grey) for i, grey in enumerate(noise)]
    (problem,) = shared_images([*many, *pictures(test=[drawn[3], encoded(drawn[0], 70)])])
    assert problem.startswith(f"train_{BLOCK + 5}, test_1: nearly")
