"""Thirds and what images are put into them by, against numbers worked out pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest

from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import LabelSet, get_label_set
from faceparse.core.scoring.image_thirds import face_shares, median_lightness, skin_lightness, split_in_thirds
from faceparse.core.scoring.records import Counts, count_image
from faceparse.core.scoring.scores import compute_all_scores
from faceparse.core.scoring.summary import Summary
from tests.core.scoring.images import stacked

HELEN = get_label_set("helen")
WITHOUT = LabelSet(name="x", side="none", classes={"a": "#000000", "b": "#000001"})


def lightness_of(pixel: np.ndarray) -> float:
    """CIE L* of one sRGB pixel: IEC 61966-2-1, then CIE 15."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (pixel / 255).tolist()]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > (6 / 29) ** 3 else 903.3 * y


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), 0), ((255, 255, 255), 100), ((119, 119, 119), 50.03),
        ((255, 0, 0), 53.24), ((0, 255, 0), 87.73), ((0, 0, 255), 32.30),
    ],
)  # fmt: skip
def test_lightness_of_known_colours(colour: tuple[int, int, int], expected: float) -> None:
    assert median_lightness(np.array([colour], np.uint8)) == pytest.approx(expected, abs=0.01)
    assert lightness_of(np.array(colour)) == pytest.approx(expected, abs=0.01)


def test_lightness_is_that_of_the_skin_alone(faces: Path) -> None:
    samples = DatasetFolder(faces).samples("train")[:5]
    found = skin_lightness(samples, HELEN)
    for sample, value in zip(samples, found, strict=True):
        image, label = read_image(sample.image), read_label(sample.label)
        lights = sorted(
            lightness_of(pixel)
            for pixel, name in zip(image.reshape(-1, 3), label.ravel(), strict=True)
            if HELEN.names[name] == "skin"
        )
        middle = len(lights) // 2
        median = lights[middle] if len(lights) % 2 else (lights[middle - 1] + lights[middle]) / 2
        assert value == pytest.approx(median, abs=0.01)
    assert len(set(found.round(1))) > 1


def test_without_skin_there_is_no_lightness(own_faces: Path) -> None:
    first, second, *_ = DatasetFolder(own_faces).samples("train")
    first.label.write_bytes(encode_png(np.where(read_label(first.label) == 1, 0, read_label(first.label))))
    assert np.isnan(skin_lightness([first, second], HELEN)).tolist() == [True, False]
    assert np.isnan(skin_lightness([first, second], WITHOUT)).all()
    second.image.write_bytes(b"broken")
    with pytest.raises(DatasetError):
        skin_lightness([first, second], HELEN)


def test_thirds_are_equal_and_in_order() -> None:
    values = np.array([5, np.nan, 1, 9, 3, 7, 3, 8.0])
    found = split_in_thirds(values)
    assert [(third.low, third.high, third.images.tolist()) for third in found] == [
        (1, 3, [2, 4, 6]), (5, 7, [0, 5]), (8, 9, [7, 3]),
    ]  # fmt: skip
    for count in range(12):
        sizes = [len(third.images) for third in split_in_thirds(np.arange(float(count)))]
        assert sum(sizes) == count
        assert max(sizes, default=0) - min(sizes, default=0) <= 1
        assert len(sizes) == min(count, 3)


def test_a_faces_share_is_of_skin_eyes_nose_and_mouth() -> None:
    label = np.zeros((40, 60), np.uint8)
    label[:10], label[10:20, :30] = HELEN.names.index("hair"), HELEN.names.index("skin")
    label[12, :9], label[13, :9] = HELEN.names.index("left_eye"), HELEN.names.index("left_brow")
    label[30:] = 255
    counts = stacked([count_image(label, np.zeros_like(label), 11), count_image(label * 0, label * 0, 11)])
    share, nothing = face_shares(counts, HELEN)
    face = sum(HELEN.names[i] in ("skin", "left_eye") for i in label[:30].ravel())
    assert share == pytest.approx((face / (30 * 60)) ** 0.5)
    assert np.isnan(nothing)
    assert np.isnan(face_shares(Counts(counts.confusion[:, :2, :2], counts.boundary), WITHOUT)).all()


def test_each_third_has_the_scores_of_its_images_alone() -> None:
    random = np.random.default_rng(0)
    counts = []
    for image in range(7):
        truth = random.integers(0, 11, (30, 30)).astype(np.uint8)
        noise = random.integers(0, 11, truth.shape).astype(np.uint8)
        counts.append(count_image(truth, np.where(random.random(truth.shape) < 0.1 * image, noise, truth), 11))
    lightness = np.array([10, 60, 20, 50, 30, 40, 70.0])
    summary = Summary(stacked(counts), HELEN, 20, lightness)
    assert list(summary.thirds) == ["face_share", "skin_lightness"]
    dark, _, bright = summary.thirds["skin_lightness"]
    for (third, of), images in ((dark, [0, 2, 4]), (bright, [1, 6])):
        assert third.images.tolist() == images
        part = summary.counts.of(np.array(images))
        assert of.scores == compute_all_scores(part.sum(), HELEN)
        assert of.intervals == Summary(part, HELEN, 20).intervals  # the seed is fixed
        assert of.intervals["mean_f1"].low <= of.scores.mean_f1 <= of.intervals["mean_f1"].high
    assert list(Summary(summary.counts, HELEN, 0).thirds) == ["face_share"]
