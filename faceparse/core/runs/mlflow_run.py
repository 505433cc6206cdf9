"""A run as MLflow returns it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

SHORT = 8
"""Characters of an id that tables show."""
DEFAULT_METRIC = "val/f1_mean"
EPOCHS_TAG = "epochs"
"""Tag with the number of epochs of a run that was extended: MLflow keeps a param as it was first logged."""


class Point(NamedTuple):
    """Value of a metric at a step."""

    value: float
    step: int


@dataclass(frozen=True)
class LoggedRun:
    """A run as MLflow returns it, with times in seconds."""

    uri: str
    """Address of the store."""
    id: str
    name: str
    experiment: str
    status: str
    started: float
    """Seconds since 1970, as `ended`, which is None while the run goes on."""
    ended: float | None
    parent: str | None
    """Id of the sweep's run that this trial belongs to."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    newest: Mapping[str, Point]
    """Metric -> its point at the last step."""

    @property
    def short_id(self) -> str:
        """First characters of the id, for tables."""
        return self.id[:SHORT]

    @property
    def is_sweep(self) -> bool:
        """Whether this is the run above trials: of a sweep, of folds, or of a learning curve."""
        return "trials" in self.tags or "sweep.sampler" in self.params

    @property
    def metric(self) -> str:
        """Score that chose best.pth, or a sweep's best trial; that of folds is out of fold."""
        if self.tags.get("trials") == "folds":
            return "out-of-fold/f1_mean"
        return "best_score" if self.is_sweep else self.tags.get("best_metric", DEFAULT_METRIC)

    @property
    def best_epoch(self) -> int | None:
        """Epoch of best.pth; None where it is not known."""
        text = self.tags.get("best_epoch", "")
        return int(text) if text.isdigit() else None

    @property
    def epochs(self) -> int | None:
        """Number of finished epochs; None for a sweep."""
        point = self.newest.get("train/loss")
        return point.step if point else None

    @property
    def wanted_epochs(self) -> int | None:
        """Number of epochs that the settings ask for; None where it is not known."""
        text = self.tags.get(EPOCHS_TAG) or self.params.get("train.epochs", "")
        return int(text) if text.isdigit() else None
