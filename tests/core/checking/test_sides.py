"""Left is where the label set says, or a line says that it is not."""

from pathlib import Path

import numpy as np
import pytest

from faceparse.core.checking.moments import Moments, label_moments, stack_moments
from faceparse.core.checking.sides import side_problems
from faceparse.core.labels.label_set import LabelSet

LABELS = Path("labels")


def label_set(side: str) -> LabelSet:
    names = ("background", "left_eye", "right_eye", "l_ear", "r_ear", "l_lip")
    return LabelSet.model_validate(
        {"name": "mine", "side": side, "classes": {name: f"#00000{i}" for i, name in enumerate(names)}}
    )


def drawn(left_to_right: str) -> np.ndarray:
    """A label of upright bars with these ids."""
    return np.repeat([[int(value) for value in left_to_right]], 6, axis=0).astype(np.uint8)


def as_set(*labels: str) -> Moments:
    return stack_moments([label_moments(drawn(label), 6) for label in labels], 6)


@pytest.mark.parametrize("side", ["viewer", "subject", "none"])
def test_each_side_as_stated(side: str) -> None:
    bars = {"viewer": "0301520400", "subject": "0402510300", "none": "0402510300"}[side]
    assert side_problems(as_set(*[bars] * 6), label_set(side), LABELS) == []


def test_viewers_left_at_the_right() -> None:
    assert side_problems(as_set(*["020150"] * 6), label_set("viewer"), LABELS) == [
        "labels: left_eye lies right of right_eye in 6 labels and left of it in 0, but side = 'viewer' puts it left; "
        "swap their ids, or set side = 'subject' in the label set"
    ]


def test_subjects_left_at_the_left() -> None:
    assert side_problems(as_set(*["0300400"] * 4, "0400300"), label_set("subject"), LABELS) == [
        "labels: l_ear lies left of r_ear in 4 labels and right of it in 1, but side = 'subject' puts it right; "
        "swap their ids, or set side = 'viewer' in the label set"
    ]


def test_each_pair_has_its_line() -> None:
    found = side_problems(as_set(*["0402510300"] * 5), label_set("viewer"), LABELS)
    assert [problem.split(" lies ")[0] for problem in found] == ["labels: left_eye", "labels: l_ear"]


def test_a_few_against_are_no_verdict_and_half_are() -> None:
    assert side_problems(as_set(*["0102"] * 4, *["0201"] * 3), label_set("viewer"), LABELS) == []
    assert len(side_problems(as_set(*["0102"] * 3, *["0201"] * 3), label_set("viewer"), LABELS)) == 1


def test_fewer_than_five_with_both_are_no_verdict() -> None:
    assert side_problems(as_set(*["0201"] * 4, *["0200"] * 9), label_set("viewer"), LABELS) == []
    assert len(side_problems(as_set(*["0201"] * 5, *["0200"] * 9), label_set("viewer"), LABELS)) == 1


def test_without_sides_nothing_is_asked() -> None:
    assert side_problems(as_set(*["0201"] * 9), label_set("none"), LABELS) == []
