"""A run as MLflow gives it back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

SHORT = 8
"""Characters of an id that tables show."""
DEFAULT_METRIC = "val/f1_mean"


class Point(NamedTuple):
    value: float
    step: int


@dataclass(frozen=True)
class LoggedRun:
    uri: str
    """Of the store."""
    id: str
    name: str
    experiment: str
    status: str
    started: float
    """Seconds since 1970, as `ended`, which a run that still runs has not."""
    ended: float | None
    parent: str | None
    """Id of the sweep's run that this trial belongs to."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    newest: Mapping[str, Point]
    """Metric -> its point of the last step."""

    @property
    def short_id(self) -> str:
        return self.id[:SHORT]

    @property
    def is_sweep(self) -> bool:
        return "sweep.sampler" in self.params

    @property
    def metric(self) -> str:
        """The score that chose best.pth, or a sweep's best trial."""
        return "best_score" if self.is_sweep else self.tags.get("best_metric", DEFAULT_METRIC)

    @property
    def best_epoch(self) -> int | None:
        text = self.tags.get("best_epoch", "")
        return int(text) if text.isdigit() else None

    @property
    def epochs(self) -> int | None:
        """Finished so far; a sweep has none."""
        point = self.newest.get("train/loss")
        return point.step if point else None

    @property
    def wanted_epochs(self) -> int | None:
        text = self.params.get("train.epochs", "")
        return int(text) if text.isdigit() else None
