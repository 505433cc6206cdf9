"""Deliver to MLflow what a run's tracking record lists and MLflow lacks.

The record notes each call to MLflow as soon as MLflow has answered. A process may die at any moment, and the next one
goes on from there.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from faceparse.core.errors import TrackingError
from faceparse.core.runs.copies import original_of
from faceparse.core.runs.database import copied_uri, database_file, is_local, tracking_uri
from faceparse.core.runs.mlflow_failures import FAILURES, Refused, advice, is_refusal, reason, told
from faceparse.core.runs.mlflow_store import Held, Store, as_named, open_store
from faceparse.core.runs.shared_tracking import SharedTracking
from faceparse.core.runs.tracking_record import (
    TRACKING_FILE,
    Evaluated,
    Line,
    Parcel,
    Say,
    lacks_model,
    outstanding,
    read_tracking,
    undelivered,
)
from faceparse.core.settings import load_settings

_ASIDE = ".upload"


class Delivery:
    """Delivers everything that is outstanding of one run. You can try as often as you like.

    The order is: points, params and tags, datasets, the logged model, files, evaluations, and the run's status last.
    """

    def __init__(
        self,
        shared: SharedTracking,
        lines: Callable[[], list[Line]],
        *,
        warn: Say,
        on_contact: Callable[[], object] = lambda: None,
        make: bool = True,
    ) -> None:
        """Prepare the delivery. Deliver nothing yet.

        Args:
            lines: reads the present lines of metrics.jsonl.
            warn: called with what MLflow refuses, and when a database was moved.
            on_contact: called once MLflow has answered and knows the run.
            make: make a local database that is not there, for a run that MLflow does not know.
        """
        self.shared = shared
        self._tracking = shared.tracking
        self._lines, self._warn, self._on_contact = lines, warn, on_contact
        self._make = make
        self._store: Store | None = None
        self._run_id = ""
        self._held: Held | None = None  # points that need no delivery; None: ask MLflow
        self._changed: set[str] = set()  # files that were noted again during their upload
        self._parcel = Parcel()

    def note_file(self, name: str) -> None:
        """Note that a file of the run directory is new, so that an upload under way is not its last."""
        self._changed.add(name)

    def try_once(self) -> Parcel:
        """Deliver all that is outstanding.

        Returns:
            Counts of what was delivered.

        Raises:
            FAILURES: MLflow cannot be reached, or fails; the record has what was delivered until then.
            TrackingClosedError: the run has ended meanwhile.
        """
        self._parcel = Parcel()
        try:
            self._store = self._store or self._open()
            self._run_id = self._tracking.run_id or self._find_or_create()
            self._on_contact()
            try:
                self._deliver_points()
                self._deliver_labels()
                self._deliver_datasets()
                self._deliver_model()
                self._deliver_files()
                self._deliver_evaluations()
            finally:  # even if MLflow refuses a file, the run must not stay open for ever
                self._deliver_status()
        except BaseException:
            self._store = None
            raise
        return self._parcel

    def deliver_rest(self) -> Parcel:
        """Deliver all that is outstanding of a run whose process has ended. A run that was lost counts as KILLED.

        Returns:
            Counts of what was delivered.

        Raises:
            TrackingError: MLflow does not take it.
        """
        if self._tracking.status == "RUNNING":  # but no process holds the run directory
            last = max((line["time"] for line in self._lines()), default=self._tracking.started)
            with self.shared.changing() as tracking:
                tracking.status, tracking.ended = "KILLED", last
        if not self.shared.outstanding(self._lines()):
            return Parcel()
        try:
            return self.try_once()
        except FAILURES as error:
            rest = self.shared.outstanding(self._lines())
            raise TrackingError(
                f"MLflow at {self._tracking.uri}: not delivered: {rest} ({reason(error)}){advice(error)}"
            ) from None

    @property
    def _there(self) -> Store:
        assert self._store is not None
        return self._store

    def _open(self) -> Store:
        run_id = self._tracking.run_id
        store = open_store(self._tracking.uri, warn=self._warn, must_exist=run_id is not None or not self._make)
        if run_id is not None:
            store.check_run(run_id)
        return store

    def _find_or_create(self) -> str:
        self.shared.must_be_open()
        tracking = self._tracking
        experiment = self._there.experiment(tracking.experiment)
        run_id = self._there.find_run(experiment, tracking.key)
        if run_id is None:
            self._held = {}  # a new run holds no points
            run_id = self._there.create_run(
                experiment, tracking.key, name=tracking.run_name, started=tracking.started, parent=self._parent()
            )
        with self.shared.changing() as tracking:
            tracking.run_id, tracking.told = run_id, "RUNNING"
        return run_id

    def _parent(self) -> str | None:
        """MLflow's id of the run above this one; None where there is none."""
        above = self.shared.folder.parent
        parent = read_tracking(above)
        if parent and parent.run_id is None:
            raise TrackingError(f"{self.shared.folder}: its sweep is not in MLflow yet; first: faceparse sync {above}")
        return parent.run_id if parent else None

    def _deliver_points(self) -> None:
        lines = [as_named(line) for line in undelivered(self._tracking, self._lines())]
        if not lines:
            return
        held = self._there.held(self._run_id, lines) if self._held is None else self._held
        self._held = None  # a call that fails may have delivered its points
        for line in lines:
            step = line["epoch"]
            new = [name for name in line["metrics"] if (name, step) not in held and name not in self._tracking.refused]
            refused: Refused = {}
            if new:
                self.shared.must_be_open()
                refused = self._there.log_points(self._run_id, line, new)
            with self.shared.changing() as tracking:
                tracking.delivered = step
            self._parcel.points += len(new) - len(refused)
            self._leave_out(refused)
        self._held = held

    def _deliver_labels(self) -> None:
        with self.shared.reading() as tracking:
            params, tags = dict(tracking.params), dict(tracking.tags)
        if not params and not tags:
            return
        self.shared.must_be_open()
        refused = self._there.log_labels(self._run_id, params, tags)
        with self.shared.changing() as tracking:
            tracking.params = {}
            tracking.tags = {key: value for key, value in tracking.tags.items() if tags.get(key) != value}
        self._parcel.labels = len(params) + len(tags) - len(refused)
        self._leave_out(refused)

    def _deliver_datasets(self) -> None:
        for dataset in list(self._tracking.datasets):
            log = partial(self._there.log_datasets, self._run_id, [dataset])
            self._parcel.datasets += self._is_taken(f"dataset {dataset.name} ({dataset.context})", log)
            with self.shared.changing() as tracking:
                tracking.datasets.remove(dataset)

    def _deliver_model(self) -> None:
        with self.shared.reading() as tracking:
            best, lacking = tracking.best_epoch, lacks_model(tracking)
        if best is None or not lacking:
            return
        unknown: Line = {"epoch": best, "time": time.time(), "metrics": {}}  # the disk was full
        line = next((line for line in self._lines() if line["epoch"] == best), unknown)
        artifact = tracking.best_artifact or ""
        link = partial(self._there.link_best, self._run_id, as_named(line), tracking.run_name, artifact, self._held)
        self._parcel.models = int(self._is_taken("the logged model", link))
        with self.shared.changing() as tracking:
            tracking.linked_epoch = best

    def _deliver_files(self) -> None:
        with self.shared.reading() as tracking:
            files = [(self.shared.folder / name, name, folder) for name, folder in tracking.files.items()]
        # The smallest first, so that a server that refuses large files still gets all the others.
        for path, name, folder in sorted(files, key=lambda file: _size(file[0])):
            with self.shared.reading():
                self._changed.discard(name)
            with _set_aside(path) as copy:
                if copy is None:
                    self._parcel.missing += 1
                else:
                    self._parcel.files += self._is_taken(name, partial(self._there.upload, self._run_id, copy, folder))
            with self.shared.changing() as tracking:
                if name not in self._changed:
                    del tracking.files[name]

    def _deliver_evaluations(self) -> None:
        """Deliver the evaluations of a run that has ended: only then its logged model exists."""
        if self._tracking.status == "RUNNING":
            return
        for done in list(self._tracking.evaluations):

            def log(done: Evaluated = done) -> None:
                self._leave_out(self._there.log_evaluation(self._run_id, done))

            self._parcel.evaluations += self._is_taken(done.place, log)
            with self.shared.changing() as tracking:
                tracking.evaluations.remove(done)

    def _deliver_status(self) -> None:
        with self.shared.reading() as tracking:
            status, ended = tracking.status, tracking.ended
        if status == tracking.told:
            return
        self.shared.must_be_open()
        try:
            self._there.set_status(self._run_id, status, ended)
        except FAILURES as error:
            if is_refusal(error):
                self._there.check_run(self._run_id)  # a deleted run refuses everything
            raise
        with self.shared.changing() as tracking:
            tracking.told = status
        self._parcel.status = status

    def _is_taken(self, what: str, deliver: Callable[[], object]) -> bool:
        """Deliver one thing. Leave it out where MLflow refuses its content."""
        self.shared.must_be_open()
        try:
            deliver()
        except FAILURES as error:
            if not is_refusal(error):
                raise
            self._there.check_run(self._run_id)  # a deleted run refuses everything
            self._leave_out({what: reason(error)})
            return False
        return True

    def _leave_out(self, refused: Refused) -> None:
        """Note what MLflow refuses, and warn about it once."""
        if new := {what: why for what, why in refused.items() if what not in self._tracking.refused}:
            with self.shared.changing() as tracking:
                tracking.refused |= new
            self._parcel.refused += len(new)
            self._warn(told(self._tracking.uri, new))


def open_delivery(folder: Path, lines: Callable[[], list[Line]], *, warn: Say = lambda _: None) -> Delivery:
    """The delivery of a run whose process has ended. The caller must hold the run directory.

    Raises:
        SettingsError: tracking.json is damaged.
        TrackingError: the run was never tracked, or the folder is a copy and has something to deliver.
    """
    tracking = read_tracking(folder)
    if tracking is None:
        raise TrackingError(f"{folder}: not tracked in MLflow (no {TRACKING_FILE} in it); nothing to deliver")
    unfinished = tracking.status == "RUNNING" or outstanding(tracking, lines())
    if unfinished and (original := original_of(folder, tracking)):
        uri = copied_uri(tracking.uri, folder, tracking.run_id)
        if uri is None:
            raise TrackingError(
                f"{folder}: a copy of {original}, whose MLflow run it has no part in; "
                f"deliver that: faceparse sync {original}"
            )
        tracking.uri = uri
    # A stranger's tracking.json may name any file: one is made only where a run in this folder would make it.
    own = tracking.uri == tracking_uri(load_settings().tracking) or not is_local(tracking.uri)
    near = own or database_file(tracking.uri).parent in folder.resolve().parents
    return Delivery(SharedTracking(folder, tracking), lines, warn=warn, make=near)


@contextmanager
def _set_aside(path: Path) -> Iterator[Path | None]:
    """Give a file a second name, which keeps its content when the first is replaced. None where the file is gone."""
    copy = path.parent / _ASIDE / path.name
    shutil.rmtree(copy.parent, ignore_errors=True)  # left by a process that was killed
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
