"""All results of an evaluation, computed from its counts."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.scoring.bootstrap import Interval, intervals, resampled_scores
from faceparse.core.scoring.image_thirds import Third, face_shares, split_in_thirds
from faceparse.core.scoring.records import Counts
from faceparse.core.scoring.scores import ScoreArrays, Scores, compute_all_scores, score_arrays
from faceparse.core.scoring.sizes import face_sides, size_bins


@dataclass(frozen=True)
class Summary:
    """Results on N images under one protocol."""

    counts: Counts
    label_set: LabelSet
    resamples: int
    """Number of resamples for the intervals; 0 for none."""
    lightness: np.ndarray | None = None
    """Lightness of the skin in N photographs, nan where there is no skin. None where it was not measured."""

    @cached_property
    def scores(self) -> Scores:
        """Scores of all images together."""
        return compute_all_scores(self.counts.sum(), self.label_set)

    @cached_property
    def resampled(self) -> ScoreArrays:
        """Each score on each resample of the images."""
        return resampled_scores(self.counts, self.label_set, self.resamples)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Intervals by score; empty without resamples."""
        return intervals(self.resampled)

    @cached_property
    def images(self) -> ScoreArrays:
        """Each score of each image alone."""
        return score_arrays(self.counts, self.label_set)

    @cached_property
    def face_sides(self) -> np.ndarray:
        """Sides of N faces in pixels of the truth."""
        return face_sides(self.counts)

    @cached_property
    def sizes(self) -> dict[tuple[float, float], "Summary"]:
        """Summaries of faces with a side of (from, below) pixels."""
        return {sides: self._of(images) for sides, images in size_bins(self.counts).items()}

    @cached_property
    def measures(self) -> dict[str, np.ndarray]:
        """Measures for thirds: name -> N values, nan where an image has none."""
        shares = {"face_share": face_shares(self.counts, self.label_set)}
        return shares if self.lightness is None else shares | {"skin_lightness": self.lightness}

    @cached_property
    def thirds(self) -> dict[str, list[tuple[Third, "Summary"]]]:
        """Thirds and their summaries by measure, lowest values first. Measures that no image has are left out."""
        found = {name: split_in_thirds(values) for name, values in self.measures.items()}
        return {name: [(one, self._of(one.images)) for one in thirds] for name, thirds in found.items() if thirds}

    def _of(self, images: np.ndarray) -> "Summary":
        """Summary of chosen images, by their positions."""
        return Summary(self.counts.of(images), self.label_set, self.resamples)

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


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint on one split."""

    checkpoint: str
    epoch: int | None
    dataset: Path
    split: str
    input_size: Size
    tta: str
    """Test-time augmentation as in names of outputs, such as `tta-flip`; empty without."""
    label_set: LabelSet
    ids: list[str]
    """Ids of the images, in order."""
    summaries: dict[str, Summary]
    """Results by protocol."""
    worst: list[WorstImage]
    """Worst images under the first protocol."""
    notes: list[str] = field(default_factory=list)
    """What a mapping to common classes has merged; empty without one."""

    @property
    def scores(self) -> dict[str, Scores]:
        """Scores by protocol."""
        return {protocol: summary.scores for protocol, summary in self.summaries.items()}
