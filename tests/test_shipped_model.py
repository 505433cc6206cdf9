"""The model that comes with the package, on two portraits in the public domain."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import faceparse
from faceparse.core.api import FaceParser
from faceparse.core.names.shipped import DEFAULT, LARGEST, find_shipped

ROOT = Path(__file__).parents[1]
PORTRAITS = ROOT / "docs" / "portraits"
EXPECTED = json.loads((ROOT / "tests" / "data" / "portraits.json").read_text())
"""Name -> class -> its share of the pixels, and the label map in 64 x 64 letters, `a` being class 0."""


@pytest.fixture(scope="module")
def parser() -> FaceParser:
    return faceparse.load(device="cpu")


def small(labels: np.ndarray) -> np.ndarray:
    """64 x 64, each cell the id at its middle."""
    return cv2.resize(labels, (64, 64), interpolation=cv2.INTER_NEAREST_EXACT)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_portrait_is_parsed_as_expected(parser: FaceParser, name: str) -> None:
    result = parser.predict(PORTRAITS / f"{name}.jpg")
    assert result.faces is not None
    assert len(result.faces) == 1
    assert result.faces[0].score > 0.6
    shares = {key: count / result.labels.size for key, count in result.areas().items()}
    for key, expected in EXPECTED[name]["shares"].items():
        assert shares.get(key, 0.0) == pytest.approx(expected, rel=0.2, abs=0.002), key
    letters = np.array([[ord(letter) - ord("a") for letter in row] for row in EXPECTED[name]["labels"]])
    assert (small(result.labels) == letters).mean() > 0.97


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_both_eyes_are_where_they_are(parser: FaceParser, name: str) -> None:
    """As a person reads them off the picture."""
    result = parser.predict(PORTRAITS / f"{name}.jpg")
    assert result.faces is not None
    points = result.faces[0].points
    assert points is not None
    for found, (x, y) in zip(points, EXPECTED[name]["eyes"], strict=False):
        assert np.hypot(*(found - (x, y))) < 0.2 * np.hypot(*(points[1] - points[0]))


def test_the_shipped_file_is_small_and_the_one_that_the_list_names() -> None:
    place = find_shipped(DEFAULT)  # whose checksum is compared
    assert place.path.stat().st_size < LARGEST
    assert place.path.with_suffix(".md").is_file()
