"""Photographs put into groups, against a loop over the photographs."""

from itertools import pairwise

import numpy as np
import pytest

from faceparse.core.scoring.groups import Grouping, by_bins, by_thirds, by_words, span_phrase


def shown(grouping: Grouping) -> list[tuple[str, list[int], float | None, float | None]]:
    return [(group.name, group.images.tolist(), group.low, group.high) for group in grouping.groups]


def test_thirds_are_equal_and_in_order() -> None:
    found = by_thirds("x", np.array([5, np.nan, 1, 9, 3, 7, 3, 8.0]))
    assert shown(found) == [("low", [2, 4, 6], 1, 3), ("middle", [0, 5], 5, 7), ("high", [3, 7], 8, 9)]
    assert found.cells(8) == [5, None, 1, 9, 3, 7, 3, 8]
    for count in range(15):
        sizes = [len(group.images) for group in by_thirds("x", np.arange(float(count))).groups]
        assert sum(sizes) == count
        assert max(sizes, default=0) - min(sizes, default=0) <= 1
        assert len(sizes) == min(count, 3)


def test_equal_values_are_in_one_third() -> None:
    assert shown(by_thirds("x", np.array([0.0] * 7 + [1, 2, 3]))) == [
        ("low", [0, 1, 2, 3, 4, 5, 6], 0, 0), ("high", [7, 8, 9], 1, 3)
    ]  # fmt: skip
    assert shown(by_thirds("x", np.array([2.0, 2, 2]))) == [("all", [0, 1, 2], 2, 2)]
    random = np.random.default_rng(0)
    for _ in range(100):
        values = random.integers(0, 9, random.integers(1, 40)).astype(float)
        groups = by_thirds("x", values).groups
        assert sorted(image for group in groups for image in group.images) == list(range(len(values)))
        for before, after in pairwise(groups):
            assert values[before.images].max() < values[after.images].min()
        assert len(groups) > 1 or len(set(values)) == 1


def test_bins_begin_at_their_edges() -> None:
    found = by_bins("x", np.array([0, 9.9, 10, np.nan, 19, 30]), (-np.inf, 10, 20, 25, np.inf), "abcd")
    assert shown(found) == [("a", [0, 1], None, 10), ("b", [2, 4], 10, 20), ("d", [5], 25, None)]


def test_words_are_groups_in_the_given_order() -> None:
    found = by_words("x", ["f", None, "m", "f"], ["m", "f", "none has this"])
    assert shown(found) == [("m", [2], None, None), ("f", [0, 3], None, None)]
    assert found.cells(4) == ["f", None, "m", "f"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ((None, None), ""), ((None, 64.0), "below 64"), ((512.0, None), "512 and more"), ((64.0, 128.0), "64 to 128"),
        ((-0.1, 0.1), "-0.1 to 0.1"), ((0.0123456, 1234.5), "0.0123 to 1234"), ((30.06, 49.96), "30.1 to 50"),
    ],
)  # fmt: skip
def test_bounds_in_words(bounds: tuple[float | None, float | None], expected: str) -> None:
    assert span_phrase(*bounds) == expected


def test_bounds_are_scaled_for_display() -> None:
    assert span_phrase(0.25, 0.5, 100) == "25 to 50"
