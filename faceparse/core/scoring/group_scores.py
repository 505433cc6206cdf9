"""Scores by groups of photographs, and the largest gap between groups."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.bootstrap import Difference, Interval, intervals, largest_difference, resampled_groups
from faceparse.core.scoring.groups import Group, Grouping
from faceparse.core.scoring.records import Counts
from faceparse.core.scoring.scores import AT, ScoreArrays, Scores, compute_all_scores, mean_of_present, score_arrays

LEAST = 10
"""Photographs that a group needs for intervals and gaps. Resamples of fewer say too little about others."""

_MEANS = {"mean_f1": "f1", "mean_iou": "iou"} | {f"mean_{at}": at for at in AT.values()}
"""Mean -> kind of the scores that it is of."""


@dataclass(frozen=True)
class Gap:
    """Largest gap of one score between groups."""

    worst: str
    """Name of the group with the lowest score."""
    best: str
    difference: Difference
    """How much higher the best group's score is, and whether chance explains it."""


@dataclass(frozen=True)
class GroupScores:
    """Scores of one group alone."""

    group: Group
    scores: Scores
    intervals: dict[str, Interval]
    """Intervals by score; empty for groups of fewer than `LEAST` photographs, and without resamples."""


@dataclass(frozen=True)
class GroupedScores:
    """Scores of all groups of one grouping."""

    grouping: Grouping
    groups: list[GroupScores]
    gaps: dict[str, Gap]
    """Largest gap by score, among groups of at least `LEAST` photographs in which the class occurs.

    Scores that fewer than two such groups have are left out. Gaps of means are of means over the classes that all these
    groups have: a group must not look better because a hard class is absent from it."""

    def left_out(self, label_set: LabelSet) -> list[str]:
        """Classes that occur in some groups of the gaps but not in all, so that gaps of means are without them."""
        large = [one.scores.f1 for one in self.groups if len(one.group.images) >= LEAST]
        return [name for name in label_set.names[1:] if 0 < sum(f1[name] is not None for f1 in large) < len(large)]


def score_groups(
    counts: Counts,
    label_set: LabelSet,
    groupings: Iterable[Grouping],
    resamples: int,
    together: np.ndarray | None = None,
) -> dict[str, GroupedScores]:
    """Scores by the groupings' names, from the counts of N images. All groups see the same resamples of the images.

    `together` is as of `resampled_groups`.
    """
    return {one.name: _score_grouping(counts, label_set, one, resamples, together) for one in groupings}


def flat_groups(groups: Mapping[str, GroupedScores]) -> dict[str, float]:
    """Mean F1 of each group and largest gap of mean F1, by their names in MLflow.

    Groups in which no class occurs have no mean, and groupings without two groups of `LEAST` photographs no gap.
    """
    means = {
        f"groups/{name}/{one.group.name}": one.scores.mean_f1
        for name, grouped in groups.items()
        for one in grouped.groups
        if any(f1 is not None for f1 in list(one.scores.f1.values())[1:])
    }
    gaps = {
        f"gap/{name}": grouped.gaps["mean_f1"].difference.value
        for name, grouped in groups.items()
        if "mean_f1" in grouped.gaps
    }
    return means | {name: value for name, value in gaps.items() if value is not None}


def _score_grouping(
    counts: Counts, label_set: LabelSet, grouping: Grouping, resamples: int, together: np.ndarray | None
) -> GroupedScores:
    large = [group for group in grouping.groups if len(group.images) >= LEAST]
    drawn = resampled_groups(counts, label_set, [group.images for group in large], resamples, together=together)
    spans = {group.name: intervals(scores) for group, scores in zip(large, drawn, strict=True)}
    sums = {group.name: counts.of(group.images).sum() for group in grouping.groups}
    scored = [
        GroupScores(group, compute_all_scores(sums[group.name], label_set), spans.get(group.name, {}))
        for group in grouping.groups
    ]
    names = [group.name for group in large]
    values = [score_arrays(sums[name], label_set) for name in names]
    return GroupedScores(grouping, scored, _gaps(names, values, drawn, label_set) if len(large) > 1 else {})


def _gaps(
    names: Sequence[str], values: Sequence[ScoreArrays], drawn: Sequence[ScoreArrays], label_set: LabelSet
) -> dict[str, Gap]:
    """Gaps by score between G groups, from their scores and their R resampled scores."""
    points = {score: np.stack([one[score] for one in values]) for score in values[0]}
    resampled = {score: np.stack([one[score] for one in drawn]) for score in points}
    for mean, kind in _MEANS.items():
        of = [f"{kind}/{name}" for name in label_set.names[1:]]
        common = [score for score in of if not np.isnan(points[score]).any()]
        for scores in (points, resampled):
            several = [scores[score] for score in common]
            scores[mean] = mean_of_present(several) if several else np.full_like(scores[mean], np.nan)
    gaps = {}
    for score, found in points.items():
        there = np.flatnonzero(~np.isnan(found))
        if len(there) > 1:
            worst, best = (names[there[at]] for at in (found[there].argmin(), found[there].argmax()))
            gaps[score] = Gap(worst, best, largest_difference(found[there], resampled[score][there]))
    return gaps
