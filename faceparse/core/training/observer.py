"""Interface to a run's progress and messages."""

from typing import Protocol

from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.training.trainer import Progress


class Observer(Protocol):
    """Receives a run's progress and messages (terminal, tests)."""

    track: Track

    def message(self, text: str) -> None:
        """Show one line of information."""

    def warning(self, text: str) -> None:
        """Show a problem that does not end the run."""

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        """Called before the first iteration of an epoch."""

    def progress(self, progress: Progress) -> None:
        """Called every few iterations and at the end of an epoch."""

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        """Called after an epoch. `metric` names the score that chooses the best epoch."""


class Bystander:
    """An `Observer` that shows nothing, in all processes but the first."""

    track: Track = staticmethod(untracked)

    def message(self, text: str) -> None:
        """Do nothing."""

    def warning(self, text: str) -> None:
        """Do nothing."""

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        """Do nothing."""

    def progress(self, progress: Progress) -> None:
        """Do nothing."""

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        """Do nothing."""
