"""MLflow run of a training run while it trains.

The run directory is the truth. It also notes what MLflow still lacks. A thread beside training delivers that, or
`faceparse sync` does later.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from faceparse.core.errors import InterruptedRunError
from faceparse.core.runs.copies import original_of, tracking_of_copy
from faceparse.core.runs.database import copied_uri, tracking_uri
from faceparse.core.runs.shared_tracking import SharedTracking
from faceparse.core.runs.tracking_record import InputDataset, Line, Say, Status, TrackingRecord, read_tracking
from faceparse.core.settings import TrackingSettings

if TYPE_CHECKING:
    from faceparse.core.runs.delivery_thread import DeliveryThread

END_PATIENCE = 10.0
"""Longest time in seconds that a run waits for MLflow when it ends."""


class Tracker:
    """MLflow run of one run directory. Notes first what is to be delivered; a thread delivers it.

    Where the run directory lies inside another tracked one, as a sweep's trial does, the run is a child of that one's
    run. As a context, it closes the run with the status that fits the outcome. Without tracking, it does nothing.
    """

    def __init__(self) -> None:
        """Track nothing. `start` makes a tracker that does."""
        self._shared: SharedTracking | None = None
        self._thread: DeliveryThread | None = None

    @classmethod
    def start(
        cls,
        settings: TrackingSettings,
        folder: Path,
        lines: Callable[[], list[Line]],
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        datasets: Sequence[InputDataset] = (),
        warn: Say,
        say: Say,
    ) -> "Tracker":
        """Go on with the MLflow run of `folder`, or begin one, and start the thread.

        A copied run directory gets an MLflow run of its own. A new MLflow run waits for the first try, so that the
        checkpoints know it where MLflow answers.

        Args:
            lines: reads the present lines of metrics.jsonl.
            warn: called from the thread with a message when the server is lost; called at once where this is a copy.
            say: called from the thread with a message when the server is back.

        Raises:
            SettingsError: tracking.json is damaged.
            OutputError: it cannot be written.
        """
        tracker = cls()
        if not settings.enabled:
            return tracker
        from faceparse.core.runs.delivery_thread import DeliveryThread  # MLflow takes seconds to import
        from faceparse.core.runs.mlflow_store import START_PATIENCE

        name, texts = settings.run_name or folder.name, {key: str(value) for key, value in params.items()}
        tracking = read_tracking(folder)
        if tracking is None:
            parent = read_tracking(folder.parent)
            tracking = TrackingRecord(
                uri=parent.uri if parent else tracking_uri(settings),
                experiment=settings.experiment,
                run_name=name,
                key=secrets.token_hex(8),
                started=time.time(),
                params=texts,
                tags=dict(tags),
                datasets=list(datasets),
            )
        elif (original := original_of(folder, tracking)) and (uri := copied_uri(tracking.uri, folder, tracking.run_id)):
            tracking.uri = uri  # the copied database has the run, too: nothing is shared
        elif original:
            warn(f"{folder}: a copy of {original}, which keeps its MLflow run; this run gets one of its own")
            tracking = tracking_of_copy(tracking, folder, name=name, params=texts, tags=tags, datasets=datasets)
        shared = SharedTracking(folder, tracking)
        with shared.changing():
            tracking.status, tracking.ended = "RUNNING", None
        tracker._shared = shared
        tracker._thread = DeliveryThread(shared, lines, warn, say)
        tracker._thread.start()
        if tracking.run_id is None:
            tracker._thread.tried.wait(START_PATIENCE)
        return tracker

    @property
    def uri(self) -> str | None:
        """Address of the store; None where nothing is tracked."""
        return self._shared.tracking.uri if self._shared else None

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until MLflow has answered."""
        return self._shared.tracking.run_id if self._shared else None

    def deliver(self) -> None:
        """Deliver new lines of metrics.jsonl."""
        if self._thread:
            self._thread.wake()

    def upload(self, path: Path, folder: str | None = None) -> None:
        """Note a file of the run directory for upload. If it changes before its upload, only the newest counts."""
        if self._shared and self._thread:
            with self._shared.changing() as tracking:
                name = path.relative_to(self._shared.folder).as_posix()
                tracking.files[name] = folder
                self._thread.delivery.note_file(name)
            self._thread.wake()

    def tag(self, tags: Mapping[str, str]) -> None:
        """Note tags of the MLflow run."""
        if self._shared and self._thread:
            with self._shared.changing() as tracking:
                tracking.tags.update(tags)
            self._thread.wake()

    def upload_best(self, path: Path, folder: str, epoch: int) -> None:
        """Note the best checkpoint and its epoch. The last one noted gets a logged model at the run's end."""
        if self._shared:
            with self._shared.changing() as tracking:
                tracking.best_epoch, tracking.best_artifact = epoch, f"{folder}/{path.name}"
            self.upload(path, folder)

    def finish(self, status: Status) -> None:
        """Note the status of the run, and wait a little until the rest is delivered."""
        if self._shared and self._thread:
            with self._shared.changing() as tracking:
                tracking.status, tracking.ended = status, time.time()
            self._thread.finish(END_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | InterruptedRunError)
        self.finish("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")
