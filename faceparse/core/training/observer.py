"""Who watches a run."""

from typing import Protocol

from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.training.trainer import Progress


class Observer(Protocol):
    """Who watches a run."""

    track: Track

    def message(self, text: str) -> None:
        """Something worth a line."""

    def warning(self, text: str) -> None:
        """Something that went wrong without ending the run."""

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        """`metric` is the one that chooses the best epoch."""


class Bystander:
    """An `Observer` in all processes but the first: one voice is enough."""

    track: Track = staticmethod(untracked)

    def message(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None: ...
