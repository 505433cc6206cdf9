"""All results of an evaluation, computed from its counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.bootstrap import Interval, intervals, resampled_scores
from faceparse.core.scoring.built_in_groups import face_groupings
from faceparse.core.scoring.group_scores import GroupedScores, score_groups
from faceparse.core.scoring.groups import Grouping
from faceparse.core.scoring.model_facts import ModelFile, Speed
from faceparse.core.scoring.records import Counts
from faceparse.core.scoring.scarce import scarce_phrase
from faceparse.core.scoring.scores import ScoreArrays, Scores, compute_all_scores, percent, score_arrays


@dataclass(frozen=True)
class Summary:
    """Results on N images under one protocol."""

    counts: Counts
    label_set: LabelSet
    resamples: int
    """Number of resamples for the intervals; 0 for none."""
    measured: tuple[Grouping, ...] = ()
    """Groupings of the N photographs. Those by the size of the face need none of them: the counts tell it."""
    together: np.ndarray | None = None
    """Images that are drawn together in the resamples, as of `resampled_groups`."""

    @cached_property
    def scores(self) -> Scores:
        """Scores of all images together."""
        return compute_all_scores(self.counts.sum(), self.label_set)

    @cached_property
    def resampled(self) -> ScoreArrays:
        """Each score on each resample of the images."""
        return resampled_scores(self.counts, self.label_set, self.resamples, together=self.together)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Intervals by score; empty without resamples."""
        return intervals(self.resampled)

    @cached_property
    def images(self) -> ScoreArrays:
        """Each score of each image alone."""
        return score_arrays(self.counts, self.label_set)

    @cached_property
    def groupings(self) -> tuple[Grouping, ...]:
        """All groupings of the N photographs."""
        return (*self.measured, *face_groupings(self.counts, self.label_set))

    @cached_property
    def groups(self) -> dict[str, GroupedScores]:
        """Scores by group, by the grouping's name."""
        return score_groups(self.counts, self.label_set, self.groupings, self.resamples, self.together)

    @property
    def drawn(self) -> int | None:
        """Number of groups that the resamples draw whole; None where they draw each image alone."""
        return None if self.together is None else int(self.together.max()) + 1

    @cached_property
    def scarce(self) -> str:
        """Text that names the classes with too little truth to be scored; empty where there are none."""
        return scarce_phrase(self.counts, self.label_set)

    def worst(self, count: int) -> list[int]:
        """Positions of the images with the lowest mean F1, the worst first. Images without a score are left out."""
        means = self.images["mean_f1"]
        return [int(image) for image in np.argsort(means, kind="stable")[:count] if not np.isnan(means[image])]


class WorstImage(NamedTuple):
    """One of the worst images, with pictures of its labels."""

    id: str
    mean_f1: float
    truth: np.ndarray
    """Photograph with its true classes painted over it, made small. H x W x 3 uint8 RGB."""
    prediction: np.ndarray


@dataclass(frozen=True, repr=False)
class Evaluation:
    """One checkpoint on one split."""

    checkpoint: str
    """Name or path of the model."""
    epoch: int | None
    """Epoch of the checkpoint; None where it is not known."""
    dataset: Path
    """Dataset folder."""
    split: str
    """train, val or test."""
    input_size: Size
    """Height and width of the crops."""
    tta: str
    """Test-time augmentation as in names of outputs, such as `tta-flip`; empty without."""
    label_set: LabelSet
    """Classes that are scored."""
    ids: list[str]
    """Ids of the images, in order."""
    summaries: dict[str, Summary]
    """Results by protocol."""
    worst: list[WorstImage]
    """Worst images under the first protocol."""
    notes: list[str] = field(default_factory=list)
    """Lines on what a mapping to common classes has merged; empty without one."""
    truth: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Scored class -> classes of the labels on disk; empty where they are the same."""
    fingerprint: str | None = None
    """Hash of the split's data, as of `layout.fingerprint`."""
    licence: str | None = None
    """Terms of use of the model; None where they are unknown."""
    model_file: ModelFile | None = None
    """Size and SHA-256 of the model's file."""
    speed: Speed | None = None
    """Time of the network for one photograph."""
    finished: datetime | None = None
    """Time at which the scores were complete, with its zone."""

    def __repr__(self) -> str:
        where = f"{self.checkpoint} on {self.dataset} {self.split}, {len(self.ids)} images"
        means = ", ".join(f"{name}: mean F1 {percent(one.mean_f1)} %" for name, one in self.scores.items())
        return f"<Evaluation of {where}; {means}>"

    @property
    def scores(self) -> dict[str, Scores]:
        """Scores by protocol."""
        return {protocol: summary.scores for protocol, summary in self.summaries.items()}
