"""Record a run: files in its directory, points in MLflow, lines for its observer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from faceparse.core.errors import OutputError
from faceparse.core.files.writing import write_atomic
from faceparse.core.runs.directory import BEST, FINISHED, LAST, LOG_FILE, METRICS_FILE, SETTINGS_FILE, RunDirectory
from faceparse.core.runs.tracker import Tracker
from faceparse.core.runs.tracking_record import InputDataset
from faceparse.core.settings import TrackingSettings
from faceparse.core.training.observer import Observer
from faceparse.core.training.run_checkpoints import save, save_last


class Recorder:
    """Writes the files and reports of a run, in its first process.

    A failed write costs a warning and training goes on: a disk that is full now may have room later.
    """

    def __init__(self, directory: RunDirectory, observer: Observer) -> None:
        self.directory = directory
        self.observer = observer
        self.unsaved: OutputError | None = None
        """Why the newest checkpoint could not be written; None where it was."""
        self.tracker = Tracker()
        """Delivers only inside `tracked`."""

    def say(self, text: str) -> None:
        """Show a line to the user, and write it to train.log."""
        self.directory.log(text)
        self.observer.message(text)

    def epoch(self, epoch: int, metrics: Mapping[str, float], best: bool) -> None:
        """Record the metrics of a finished epoch."""
        with self.forgiving():
            self.directory.record(epoch, metrics)
            self.directory.log(_summary(epoch, metrics, best))
        self.tracker.deliver()

    def save_best(self, content: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Write best.pth and tag the MLflow run.

        Args:
            tags: epoch and score of this checkpoint, for the MLflow run.

        Raises:
            OutputError: the file cannot be written; best.pth is unchanged.
        """
        save(self.directory.path / BEST, content)
        self.tracker.upload_best(self.directory.path / BEST, "checkpoints", content["epoch"])
        self.tracker.tag(tags)

    def save_last(self, content: Mapping[str, Any]) -> None:
        """Write last.pth. On failure, warn and keep the reason in `unsaved`."""
        self.unsaved = None
        try:
            save_last(self.directory.path, content)
        except OutputError as error:
            self.unsaved = error
            self.observer.warning(f"{error}; the checkpoint before is still there, training goes on")

    def save_overlays(self, epoch: int, png: bytes) -> None:
        """Write the PNG of truth and predictions of an epoch."""
        path = self.directory.path / "overlays" / f"epoch_{epoch:04d}.png"
        write_atomic(path, png)
        self.tracker.upload(path, "overlays")

    def finish(self) -> None:
        """Mark the run as finished in train.log, and note its files for MLflow."""
        self.directory.log(FINISHED)
        self.tracker.upload(self.directory.path / LAST, "checkpoints")
        for name in (SETTINGS_FILE, METRICS_FILE, LOG_FILE):
            self.tracker.upload(self.directory.path / name)

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Turn OutputError into a warning."""
        try:
            yield
        except OutputError as error:
            self.observer.warning(f"{error}; training goes on")

    @contextmanager
    def tracked(
        self,
        settings: TrackingSettings,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        datasets: Sequence[InputDataset],
    ) -> Iterator[None]:
        """Keep the MLflow run open; at the end, give it the status that fits the outcome."""
        self.tracker = Tracker.start(
            settings,
            self.directory.path,
            self.directory.metrics,
            params=params,
            tags=tags,
            datasets=datasets,
            warn=self.observer.warning,
            say=self.observer.message,
        )
        with self.tracker:
            yield


_IN_DETAIL = ("/f1/", "/iou/", "system/")


def _summary(epoch: int, metrics: Mapping[str, float], best: bool) -> str:
    shown = {name: value for name, value in metrics.items() if not any(part in name for part in _IN_DETAIL)}
    return (
        f"epoch {epoch}: {', '.join(f'{name} {value:.4g}' for name, value in shown.items())}{' (best)' if best else ''}"
    )
