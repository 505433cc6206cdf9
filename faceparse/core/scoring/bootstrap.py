"""Bootstrap over images (Efron, 1979): how far scores would move on other images of the same kind.

A resample draws as many images as there are, with replacement. Its scores are those of the sum of its counts. The
scatter over resamples shows how much of a score is chance. Resamples depend only on the seed and the number of images.
So two networks on the same images are scored on the same resamples, and their differences can be compared resample by
resample.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.records import Counts
from faceparse.core.scoring.scores import ScoreArrays, score_arrays

RESAMPLES = 1000
SEED = 0
LEVEL = 0.95
"""Share of the resamples inside an interval."""

_CHUNK = 2**18
"""Most weights in memory at once: 2 MiB."""


class Interval(NamedTuple):
    """Lower and upper bound of a score."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much higher a score is for one network than for another, or for one group of images than for another."""

    value: float | None
    """None where the class is absent."""
    interval: Interval | None
    p_value: float | None
    """Two-sided: how often chance alone would give as large a difference."""

    @property
    def significant(self) -> bool:
        """Whether the p-value is below 1 - `LEVEL`."""
        return self.p_value is not None and self.p_value < 1 - LEVEL


def resampled_scores(
    counts: Counts, label_set: LabelSet, resamples: int, *, together: np.ndarray | None = None, seed: int = SEED
) -> ScoreArrays:
    """Each score on each of `resamples` resamples of the N images. `together` is as of `resampled_groups`."""
    every = [np.arange(len(counts))]
    (scores,) = resampled_groups(counts, label_set, every, resamples, together=together, seed=seed)
    return scores


def resampled_groups(
    counts: Counts,
    label_set: LabelSet,
    groups: Sequence[np.ndarray],
    resamples: int,
    *,
    together: np.ndarray | None = None,
    seed: int = SEED,
) -> list[ScoreArrays]:
    """Each score of each group, given by the positions of its images, on each resample of all N images.

    These are the resamples of `resampled_scores`; of each, a group sees its own images. A score is nan where the
    resample holds none of them with the class.

    Args:
        together: a number from 0 for each of the N images. Images of one number, such as those of one person, are drawn
            together, because they say less than as many of different people. Default: each image is drawn alone.
    """
    generator, images = np.random.default_rng(seed), len(counts)
    drawn = images if together is None else int(together.max()) + 1
    share = np.full(drawn, 1 / drawn)
    step = max(1, _CHUNK // images)
    own = [counts.of(group) for group in groups]
    parts: list[list[ScoreArrays]] = [[] for _ in groups]
    for start in range(0, max(resamples, 1), step):  # one empty part where there are no resamples
        weights = generator.multinomial(drawn, share, min(step, resamples - start))
        weights = weights if together is None else weights[:, together]
        for group, of, part in zip(groups, own, parts, strict=True):
            part.append(score_arrays(of.weighted(weights[:, group]), label_set))
    return [{name: np.concatenate([one[name] for one in part]) for name in part[0]} for part in parts]


def interval(resampled: np.ndarray) -> Interval | None:
    """Percentile interval. Resamples without the class do not count; None where all are without it."""
    there = resampled[~np.isnan(resampled)]
    if not len(there):
        return None
    low, high = np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def intervals(resampled: ScoreArrays) -> dict[str, Interval]:
    """Intervals by score, without scores that no resample has."""
    found = {name: interval(values) for name, values in resampled.items()}
    return {name: one for name, one in found.items() if one is not None}


def difference(value: float | None, resampled: np.ndarray) -> Difference:
    """Difference between two networks, from its value and its values on the resamples.

    The p-value turns the percentile interval around: it is 1 - level of the widest interval that excludes zero. One is
    added to the counts, because no finite number of resamples shows that something never happens (Davison & Hinkley,
    *Bootstrap Methods and their Application*, 1997, section 4.2).
    """
    there = resampled[~np.isnan(resampled)]
    if value is None or not len(there):
        return Difference(value, None, None)
    rarer = min(int((there <= 0).sum()), int((there >= 0).sum()))
    return Difference(value, interval(there), min(1.0, 2 * (rarer + 1) / (len(there) + 1)))


def largest_difference(values: np.ndarray, resampled: np.ndarray) -> Difference:
    """Difference between the greatest and the least of K values, from them and from their K x R resampled values.

    The two were picked from K because they differ most, so chance must be given the same pick. Its part is the range,
    greatest less least, of the K deviations of a resample from the values (Tukey's studentised range, 1953, with the
    bootstrap in place of the normal distribution). The p-value says how often that is as large as the difference. The
    interval reaches as far to both sides as 95 of 100 such ranges do. Resamples without a value in one of the K do not
    count.
    """
    value = float(np.ptp(values))
    there = resampled[:, ~np.isnan(resampled).any(axis=0)]
    if not there.shape[1]:
        return Difference(value, None, None)
    ranges = np.ptp(there - values[:, None], axis=0)
    reach = float(np.quantile(ranges, LEVEL))
    p_value = (int((ranges >= value).sum()) + 1) / (len(ranges) + 1)
    return Difference(value, Interval(value - reach, value + reach), p_value)
