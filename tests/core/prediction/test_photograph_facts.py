import numpy as np
import pytest

from faceparse.core.faces.crops import Crop, crop_picture
from faceparse.core.faces.face import Face
from faceparse.core.faces.matte import softmax
from faceparse.core.images.warp import apply, invert
from faceparse.core.prediction.photograph_facts import FaceFacts, Facts, confidences, facts_of, pack_facts, unpack_facts


def brute_force(answer: np.ndarray, crop: Crop, size: tuple[int, int]) -> list[float]:
    """Largest probabilities of the pixels that count, one by one."""
    found, largest = [], softmax(answer).max(axis=0)
    for y in range(0, crop.image.shape[0], 4):
        for x in range(0, crop.image.shape[1], 4):
            there = apply(invert(crop.matrix), np.array([[x, y]]))[0]
            if -0.5 < there[0] < size[1] - 0.5 and -0.5 < there[1] < size[0] - 0.5:
                found.append(float(largest[y, x]))
    return found


def test_confidence_is_the_mean_of_the_largest_probability_inside_the_photograph() -> None:
    dice = np.random.default_rng(0)
    image = dice.integers(0, 256, (60, 100, 3), dtype=np.uint8)
    faces = [Face((2, 2, 40, 50)), Face((70, 20, 8, 10))]  # the first crop reaches far beyond the photograph
    crops = crop_picture(image, faces, (32, 32))
    answers = [dice.normal(0, 2, (5, 32, 32)).astype(np.float32) for _ in crops]
    whole, each = confidences(answers, crops, (60, 100))
    aligned = [(answer, crop) for answer, crop in zip(answers, crops, strict=True) if not crop.wide]
    expected = [brute_force(answer, crop, (60, 100)) for answer, crop in aligned]
    assert len(crops) > len(aligned) == 2
    assert len(expected[0]) < 64 == len(expected[1])
    assert each == {number: pytest.approx(np.mean(one), abs=1e-4) for number, one in enumerate(expected)}
    assert whole == pytest.approx(np.mean([*expected[0], *expected[1]]), abs=1e-4)


def test_facts_say_heights_and_areas() -> None:
    label = np.array([[0, 1], [2, 2]], np.uint8).repeat(10, 0).repeat(5, 1)
    face = Face((1, 2, 3.0, 5.0))
    crops = crop_picture(np.zeros((20, 10, 3), np.uint8), [face], (8, 8))
    facts = facts_of(label, 4, [face], [np.zeros((4, 8, 8), np.float32) for _ in crops], crops)
    assert facts == Facts(0.25, (50, 50, 100, 0), (FaceFacts(5.0, 0.25, 0.25),))
    assert facts_of(label, 4, [], [], []) == Facts(None, (50, 50, 100, 0), ())
    assert unpack_facts(pack_facts(facts)) == facts


def test_a_face_outside_the_photograph_has_no_confidence() -> None:
    crops = crop_picture(np.zeros((20, 20, 3), np.uint8), [Face((900, 900, 5, 5))], (8, 8))
    assert confidences([np.zeros((4, 8, 8), np.float32)] * len(crops), crops, (20, 20)) == (None, {})
