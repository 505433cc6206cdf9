import numpy as np
import pytest

from faceparse.core.labels.label_set import get_label_set
from faceparse.core.scoring.records import Counts, no_counts
from faceparse.core.scoring.scarce import Scarce, scarce_classes, scarce_phrase

FASSEG = get_label_set("fasseg")


def counts_of(pixels: dict[str, list[int]], images: int = 25) -> Counts:
    """Counts of images in which each class has these true pixels, a number an image; others have 5000 in each."""
    counts = no_counts(images, len(FASSEG))
    counts.confusion[:, range(len(FASSEG)), 0] = 5000  # whatever was predicted
    for name, by_image in pixels.items():
        counts.confusion[:, FASSEG.names.index(name), 0] = by_image + [0] * (images - len(by_image))
    return counts


def test_classes_with_enough_truth_are_not_named() -> None:
    counts = counts_of({"eyes": [50] * 20, "background": []})
    assert scarce_classes(counts, FASSEG) == []
    assert scarce_phrase(counts, FASSEG) == ""


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([50] * 19 + [49], "eyes (999 pixels in 20 photographs)"),
        ([5000] * 19, "eyes (95000 pixels in 19 photographs)"),
        ([1], "eyes (1 pixel in 1 photograph)"),
    ],
)
def test_few_pixels_or_few_photographs_are_too_little(pixels: list[int], expected: str) -> None:
    counts = counts_of({"eyes": pixels})
    assert scarce_classes(counts, FASSEG) == [Scarce("eyes", sum(pixels), len(pixels))]
    assert scarce_phrase(counts, FASSEG) == (
        f"too little truth to score: {expected}; a score of fewer than 1000 pixels or 20 photographs is mostly chance, "
        "and the means count it"
    )


def test_absent_classes_are_named_as_such() -> None:
    assert scarce_phrase(counts_of({"eyes": [], "mouth": []}), FASSEG) == "no truth to score: eyes, mouth"
    both = scarce_phrase(counts_of({"eyes": [], "mouth": [7]}), FASSEG)
    assert both.startswith("no truth to score: eyes; too little truth to score: mouth (7 pixels in 1 photograph); a ")


def test_few_photographs_are_too_few_for_any_class() -> None:
    counts = counts_of({}, images=2)
    assert scarce_phrase(counts, FASSEG).startswith("only 2 photographs, and 20 are the least for a score that is not")


def test_predictions_are_no_truth() -> None:
    counts = counts_of({"eyes": []})
    counts.confusion[:, 0, FASSEG.names.index("eyes")] = 5000
    assert [one.name for one in scarce_classes(counts, FASSEG)] == ["eyes"]
    assert np.all(counts.confusion.sum(axis=-1)[:, FASSEG.names.index("eyes")] == 0)
