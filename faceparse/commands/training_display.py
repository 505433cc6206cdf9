"""Shows a training run: a progress bar on a terminal, plain lines elsewhere."""

import time
from typing import Self

from rich.progress import Progress as Bar
from rich.progress import TaskID

from faceparse.commands.console import LINE_EVERY, err, progress_bar, track
from faceparse.core.machine.parallel import Track
from faceparse.core.training.trainer import Progress


class TrainingDisplay:
    """Shows a run's progress and messages on stderr; an `Observer` of `core.training`."""

    def __init__(self) -> None:
        self.track: Track = track
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._epoch, self._epochs, self._iterations = 0, 0, 0
        self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def message(self, text: str) -> None:
        """Print a message."""
        err.print(text, markup=False)

    def warning(self, text: str) -> None:
        """Print a warning, in yellow on a terminal."""
        err.print(f"warning: {text}", style="yellow", markup=False)

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None:
        """Start an epoch's bar, if there is a terminal."""
        self._end_bar()  # a run that failed may have left one
        self._epoch, self._epochs, self._iterations = epoch, epochs, iterations
        self._shown = time.monotonic()
        if err.is_terminal:
            self._bar = progress_bar()
            self._bar.start()
            self._task = self._bar.add_task(f"epoch {epoch}/{epochs}", total=iterations, rate="")

    def progress(self, progress: Progress) -> None:
        """Show loss and speed: in the bar, or as a line every 15 seconds."""
        text = f"loss {progress.losses['loss']:.3f}, {progress.images_per_second:.1f} images/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=progress.iteration, rate=text)
        elif (now := time.monotonic()) - self._shown > LINE_EVERY and progress.iteration < self._iterations:
            self._shown = now
            err.print(f"epoch {self._epoch}/{self._epochs} iteration {progress.iteration}/{self._iterations}: {text}")
        if progress.iteration == self._iterations:
            self._end_bar()

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool, metric: str) -> None:
        """Print a line with the epoch's loss and scores; a star marks a new best."""
        self._end_bar()
        shown = {"val/f1_mean": "F1", "val/miou": "mIoU"}
        shown.setdefault(metric, metric.removeprefix("val/"))
        scores = ", ".join(f"{label} {metrics[name]:.4f}" for name, label in shown.items() if name in metrics)
        line = f"epoch {epoch}/{self._epochs}: loss {metrics['train/loss']:.3f}, lr {metrics['train/lr']:.2e}"
        err.print(
            f"{line}, {metrics['train/images_per_second']:.1f} images/s"
            + (f", val {scores}" if scores else "")
            + (" *" if best else "")
        )

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
