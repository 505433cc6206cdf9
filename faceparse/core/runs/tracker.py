"""A run's delivery to MLflow.

The run directory is the truth. What MLflow still has to hear of it is noted there, too, and delivered by a thread
beside training, or later by `faceparse sync`.
"""

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from faceparse.core.errors import InterruptedRunError, TrackingError
from faceparse.core.runs.ledger import (
    TRACKING_FILE,
    Evaluated,
    InputDataset,
    Ledger,
    Line,
    Parcel,
    Status,
    lacks_model,
    outstanding,
    read_ledger,
    undelivered,
    write_ledger,
)
from faceparse.core.runs.store import (
    FAILURES,
    START_PATIENCE,
    Held,
    Refused,
    Say,
    Store,
    advice,
    as_named,
    is_refusal,
    open_store,
    reason,
    told,
    tracking_uri,
)
from faceparse.core.settings import TrackingSettings
from faceparse.core.text.address import VARIABLE, whole_address

END_PATIENCE = 10.0
"""Seconds that a run waits for MLflow at most when it ends."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0
"""Seconds between two tries; each pause is twice the one before."""

_ASIDE = ".upload"


class Tracker:
    """The MLflow run of one run directory. What is to be delivered is noted first; the thread does the rest.

    Where the run directory lies in another tracked one, as that of a sweep's trial does, the run is that one's child.
    As a context, it closes the run as what it came to.

    The thread belongs to the process that holds the run directory: nobody else writes tracking.json meanwhile.
    """

    def __init__(self, folder: Path, ledger: Ledger | None, lines: Callable[[], list[Line]]) -> None:
        """
        Args:
            ledger: None where tracking is switched off; nothing is noted or delivered then.
            lines: reads what metrics.jsonl holds now.
        """
        self._folder, self._ledger, self._lines = folder, ledger, lines
        self._store: Store | None = None
        self._held: Held | None = None  # points that need no delivery; None: to be asked for
        self._changed: set[str] = set()  # files noted again while they are uploaded
        self._lock = threading.Lock()
        self._work, self._tried, self._ending = threading.Event(), threading.Event(), threading.Event()
        self._left = False
        self._problem = ""
        self._thread: threading.Thread | None = None
        self._warn: Say = lambda text: None

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
        """Go on with the MLflow run of `folder`, or begin one; the thread starts.

        A new run waits for the first try, so that its checkpoints know their MLflow run where MLflow answers.

        Args:
            warn, say: hear of a server that is lost, and of its return. Called from the thread.

        Raises:
            SettingsError: tracking.json is damaged.
            OutputError: it cannot be written.
        """
        if not settings.enabled:
            return cls(folder, None, lines)
        parent = read_ledger(folder.parent)
        ledger = read_ledger(folder) or Ledger(
            uri=parent.uri if parent else tracking_uri(settings),
            experiment=settings.experiment,
            run_name=settings.run_name or folder.name,
            key=secrets.token_hex(8),
            started=time.time(),
            params={key: str(value) for key, value in params.items()},
            tags=dict(tags),
            datasets=list(datasets),
        )
        tracker = cls(folder, ledger, lines)
        with tracker._noting():
            ledger.status, ledger.ended = "RUNNING", None
        tracker._warn = warn
        tracker._thread = threading.Thread(target=tracker._deliver_on, args=(say,), name="mlflow", daemon=True)
        tracker._thread.start()
        if ledger.run_id is None:
            tracker._tried.wait(START_PATIENCE)
        return tracker

    @property
    def uri(self) -> str | None:
        return self._ledger.uri if self._ledger else None

    @property
    def run_id(self) -> str | None:
        """None as long as MLflow could not be reached."""
        return self._ledger.run_id if self._ledger else None

    def deliver(self) -> None:
        """There are new lines in metrics.jsonl."""
        self._work.set()

    def upload(self, path: Path, folder: str | None = None) -> None:
        """Note a file of the run directory. Of one that changes before it is uploaded only the newest counts."""
        if self._ledger:
            with self._noting() as ledger:
                name = path.relative_to(self._folder).as_posix()
                ledger.files[name] = folder
                self._changed.add(name)
            self._work.set()

    def tag(self, tags: Mapping[str, str]) -> None:
        if self._ledger:
            with self._noting() as ledger:
                ledger.tags.update(tags)
            self._work.set()

    def upload_best(self, path: Path, folder: str, epoch: int) -> None:
        """Note the best checkpoint, which is of that epoch. The last one noted gets a logged model at the run's end."""
        if self._ledger:
            with self._noting() as ledger:
                ledger.best_epoch, ledger.best_artifact = epoch, f"{folder}/{path.name}"
            self.upload(path, folder)

    def finish(self, status: Status) -> None:
        """Note what the run came to, and wait a little for the rest to be delivered."""
        if not self._ledger or not self._thread:
            return
        with self._noting() as ledger:
            ledger.status, ledger.ended = status, time.time()
        self._ending.set()
        self._work.set()
        try:
            self._thread.join(END_PATIENCE)
        finally:
            with self._lock:
                self._left = True  # the run directory is about to be let go: the thread touches it no more
        if rest := outstanding(self._ledger, self._lines()):
            reason = f" ({self._problem})" if self._problem else ""
            secret = self.uri is not None and whole_address(self.uri) != self.uri
            hint = f" (user and password are kept nowhere: set {VARIABLE} to the whole address)" if secret else ""
            self._warn(
                f"MLflow at {self.uri}: not delivered: {rest}{reason}; later: faceparse sync {self._folder}{hint}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stopped = kind is not None and issubclass(kind, KeyboardInterrupt | InterruptedRunError)
        self.finish("FINISHED" if kind is None else "KILLED" if stopped else "FAILED")

    def deliver_rest(self) -> Parcel:
        """Deliver all that is outstanding, here and now; for a run whose process has ended.

        Raises:
            TrackingError: the run was never tracked, or MLflow does not take it.
        """
        ledger = self._ledger
        if ledger is None:
            raise TrackingError(f"{self._folder}: not tracked in MLflow (no {TRACKING_FILE} in it); nothing to deliver")
        if ledger.status == "RUNNING":  # and yet nobody holds the run directory
            last = max((line["time"] for line in self._lines()), default=ledger.started)
            with self._noting():
                ledger.status, ledger.ended = "KILLED", last
        if not outstanding(ledger, self._lines()):
            return Parcel()
        try:
            return self._deliver()
        except FAILURES as error:
            rest = outstanding(ledger, self._lines())
            raise TrackingError(
                f"MLflow at {ledger.uri}: not delivered: {rest} ({reason(error)}){advice(error)}"
            ) from None

    @contextmanager
    def _noting(self) -> Iterator[Ledger]:
        """Change the ledger and keep it. Only ever for a moment: training waits for this lock."""
        assert self._ledger is not None
        with self._lock:
            if self._left:
                raise _LeftError
            yield self._ledger
            write_ledger(self._folder, self._ledger)

    def _deliver_on(self, say: Say) -> None:
        """The thread: delivers whatever is noted until the run ends, with growing pauses while MLflow fails."""
        pause, lost = FIRST_PAUSE, False
        while True:
            self._work.clear()  # first: what comes from here on wakes the thread again
            last = self._ending.is_set()
            try:
                self._deliver()
            except _LeftError:
                return
            except Exception as error:  # whatever it is, the run goes on
                self._problem = reason(error)
                if not lost and not last:
                    self._warn(f"MLflow at {self.uri} failed, the run goes on and tries again: {self._problem}")
                lost = True
                self._tried.set()
                if not last:
                    self._ending.wait(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
            else:
                if lost:
                    say(f"MLflow at {self.uri} is back, everything so far is delivered")
                pause, lost, self._problem = FIRST_PAUSE, False, ""
            if last:
                return
            self._work.wait()

    def _deliver(self) -> Parcel:
        """One try at all that is outstanding. Each call to MLflow is noted as soon as it has answered."""
        parcel, ledger = Parcel(), self._ledger
        assert ledger is not None
        try:
            if self._store is None:
                self._store = open_store(ledger.uri, warn=self._warn, there=ledger.run_id is not None)
                if ledger.run_id is not None:
                    self._store.check_run(ledger.run_id)
            run_id = ledger.run_id or self._find_or_create(self._store, ledger)
            self._tried.set()
            try:
                self._deliver_points(self._store, run_id, ledger, parcel)
                self._deliver_labels(self._store, run_id, ledger, parcel)
                self._deliver_datasets(self._store, run_id, ledger, parcel)
                self._deliver_model(self._store, run_id, ledger, parcel)
                self._deliver_files(self._store, run_id, ledger, parcel)
                self._deliver_evaluations(self._store, run_id, ledger, parcel)
            finally:  # a file that MLflow refuses must not leave the run open for ever
                self._deliver_status(self._store, run_id, ledger, parcel)
        except BaseException:
            self._store = None
            raise
        return parcel

    def _find_or_create(self, store: Store, ledger: Ledger) -> str:
        self._go_on()
        experiment = store.experiment(ledger.experiment)
        run_id = store.find_run(experiment, ledger.key)
        if run_id is None:
            self._held = {}  # what is not there yet holds no points
            run_id = store.create_run(
                experiment, ledger.key, name=ledger.run_name, started=ledger.started, parent=self._parent()
            )
        with self._noting():
            ledger.run_id, ledger.told = run_id, "RUNNING"
        return run_id

    def _parent(self) -> str | None:
        """MLflow's id of the run that this one is a child of, if it is one."""
        above = self._folder.parent
        parent = read_ledger(above)
        if parent and parent.run_id is None:
            raise TrackingError(f"{self._folder}: its sweep is not in MLflow yet; first: faceparse sync {above}")
        return parent.run_id if parent else None

    def _deliver_points(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        lines = [as_named(line) for line in undelivered(ledger, self._lines())]
        if not lines:
            return
        held = store.held(run_id, lines) if self._held is None else self._held
        self._held = None  # whether a call that fails has delivered is not known
        for line in lines:
            step = line["epoch"]
            new = [name for name in line["metrics"] if (name, step) not in held and name not in ledger.refused]
            refused: Refused = {}
            if new:
                self._go_on()
                refused = store.log_points(run_id, line, new)
            with self._noting():
                ledger.delivered = step
            parcel.points += len(new) - len(refused)
            self._leave_out(refused, parcel)
        self._held = held

    def _deliver_labels(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            params, tags = dict(ledger.params), dict(ledger.tags)
        if not params and not tags:
            return
        self._go_on()
        refused = store.log_labels(run_id, params, tags)
        with self._noting():
            ledger.params = {}
            ledger.tags = {key: value for key, value in ledger.tags.items() if tags.get(key) != value}
        parcel.labels = len(params) + len(tags) - len(refused)
        self._leave_out(refused, parcel)

    def _deliver_datasets(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        for dataset in list(ledger.datasets):
            log = partial(store.log_datasets, run_id, [dataset])
            parcel.datasets += self._is_taken(f"dataset {dataset.name} ({dataset.context})", parcel, store, run_id, log)
            with self._noting():
                ledger.datasets.remove(dataset)

    def _deliver_model(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            best, lacking = ledger.best_epoch, lacks_model(ledger)
        if best is None or not lacking:
            return
        unknown: Line = {"epoch": best, "time": time.time(), "metrics": {}}  # of a disk that was full
        line = next((line for line in self._lines() if line["epoch"] == best), unknown)
        artifact = ledger.best_artifact or ""
        link = partial(store.link_best, run_id, as_named(line), ledger.run_name, artifact, self._held)
        parcel.models = int(self._is_taken("the logged model", parcel, store, run_id, link))
        with self._noting():
            ledger.linked_epoch = best

    def _deliver_files(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            files = [(self._folder / name, name, folder) for name, folder in ledger.files.items()]
        # The smallest first: a server that refuses large files has all the others.
        for path, name, folder in sorted(files, key=lambda file: _size(file[0])):
            with self._lock:
                self._changed.discard(name)
            with _set_aside(path) as copy:
                if copy is None:
                    parcel.missing += 1
                else:
                    upload = partial(store.upload, run_id, copy, folder)
                    parcel.files += self._is_taken(name, parcel, store, run_id, upload)
            with self._noting():
                if name not in self._changed:
                    del ledger.files[name]

    def _deliver_evaluations(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        """Once the logged model is there that they are of."""
        if ledger.status == "RUNNING":
            return
        for done in list(ledger.evaluations):

            def log(done: Evaluated = done) -> None:
                self._leave_out(store.log_evaluation(run_id, done), parcel)

            parcel.evaluations += self._is_taken(done.place, parcel, store, run_id, log)
            with self._noting():
                ledger.evaluations.remove(done)

    def _deliver_status(self, store: Store, run_id: str, ledger: Ledger, parcel: Parcel) -> None:
        with self._lock:
            status, ended = ledger.status, ledger.ended
        if status == ledger.told:
            return
        self._go_on()
        try:
            store.set_status(run_id, status, ended)
        except FAILURES as error:
            if is_refusal(error):
                store.check_run(run_id)  # one that was deleted refuses everything
            raise
        with self._noting():
            ledger.told = status
        parcel.status = status

    def _is_taken(self, what: str, parcel: Parcel, store: Store, run_id: str, deliver: Callable[[], object]) -> bool:
        """Deliver one thing, and leave it out where MLflow does not take it for what it is."""
        self._go_on()
        try:
            deliver()
        except FAILURES as error:
            if not is_refusal(error):
                raise
            store.check_run(run_id)  # one that was deleted refuses everything
            self._leave_out({what: reason(error)}, parcel)
            return False
        return True

    def _leave_out(self, refused: Refused, parcel: Parcel) -> None:
        """It is told once."""
        assert self._ledger is not None
        if new := {what: why for what, why in refused.items() if what not in self._ledger.refused}:
            with self._noting() as ledger:
                ledger.refused |= new
            parcel.refused += len(new)
            self._warn(told(self._ledger.uri, new))

    def _go_on(self) -> None:
        if self._left:
            raise _LeftError


class _LeftError(Exception):
    """The run has ended while something was being delivered."""


@contextmanager
def _set_aside(path: Path) -> Iterator[Path | None]:
    """A second name of a file, which keeps its content when the first is replaced; None where it is gone."""
    copy = path.parent / _ASIDE / path.name
    shutil.rmtree(copy.parent, ignore_errors=True)  # of a process that was killed
    if not path.is_file():
        yield None
        return
    copy.parent.mkdir()
    try:
        try:
            os.link(path, copy)
        except OSError:  # some file systems have no links
            shutil.copyfile(path, copy)
        yield copy
    finally:
        shutil.rmtree(copy.parent, ignore_errors=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
