"""Groupings: each puts every photograph into one group, or none. One mean hides whom a network serves worse."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Cell = float | str | None


@dataclass(frozen=True)
class Group:
    """Photographs that are scored together."""

    name: str
    images: np.ndarray
    """Positions of the photographs, ascending."""
    low: float | None = None
    """Least value in a third, or where a bin begins. None for no bound, or no values."""
    high: float | None = None
    """Greatest value in a third, or where the next bin begins."""


@dataclass(frozen=True)
class Grouping:
    """Groups by one attribute, in their order. No group is empty."""

    name: str
    groups: tuple[Group, ...]
    values: np.ndarray | None = None
    """The measured values, one for each of N photographs, nan for none; None where groups are by words."""

    def cells(self, images: int) -> list[Cell]:
        """Value of each photograph, or the name of its group; None where it has neither."""
        if self.values is not None:
            return [None if np.isnan(value) else float(value) for value in self.values]
        cells: list[Cell] = [None] * images
        for group in self.groups:
            for image in group.images:
                cells[image] = group.name
        return cells


def by_thirds(name: str, values: np.ndarray) -> Grouping:
    """Three groups of about equal number, `low`, `middle` and `high`, by N values; nan is in no group.

    Equal values stay together. So there are fewer groups where few values differ, and one group for a single value.
    """
    there = np.flatnonzero(~np.isnan(values))
    distinct, counts = np.unique(values[there], return_counts=True)
    below = counts.cumsum()[:-1]  # photographs below each place where a group may begin
    cuts = sorted({1 + int(np.abs(below - third * len(there) / 3).argmin()) for third in (1, 2)}) if len(below) else []
    parts = [part for part in np.split(distinct, cuts) if len(part)]
    names = {1: ("all",), 2: ("low", "high")}.get(len(parts), ("low", "middle", "high"))
    groups = (
        Group(word, there[np.isin(values[there], part)], float(part[0]), float(part[-1]))
        for word, part in zip(names, parts, strict=False)
    )
    return Grouping(name, tuple(groups), values)


def by_bins(name: str, values: np.ndarray, edges: Sequence[float], names: Sequence[str]) -> Grouping:
    """Groups by fixed bounds: each holds the values from one edge to below the next. nan is in no group.

    `edges` has one more element than `names`, and may begin and end with infinity.
    """
    groups = [
        Group(word, np.flatnonzero((low <= values) & (values < high)), _finite(low), _finite(high))
        for word, (low, high) in zip(names, pairwise(edges), strict=True)
    ]
    return Grouping(name, tuple(group for group in groups if len(group.images)), values)


def by_words(name: str, words: Sequence[str | None], order: Sequence[str]) -> Grouping:
    """A group for each word of `order` that one of N photographs has; None is in no group."""
    found = np.array(words, object)
    groups = [Group(word, np.flatnonzero(found == word)) for word in order]
    return Grouping(name, tuple(group for group in groups if len(group.images)))


def span_phrase(low: float | None, high: float | None, scale: float = 1) -> str:
    """Bounds in words, such as `64 to 128`; empty without bounds. `scale` is a factor for display."""
    if high is None:
        return "" if low is None else f"{_short(scale * low)} and more"
    return f"below {_short(scale * high)}" if low is None else f"{_short(scale * low)} to {_short(scale * high)}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _finite(edge: float) -> float | None:
    return float(edge) if np.isfinite(edge) else None
