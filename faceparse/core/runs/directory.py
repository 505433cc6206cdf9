"""Run directory: its settings, its log, its metrics, and the lock that keeps other processes out.

runs/<experiment>/<time>-<id>/
  settings.toml            the resolved settings, written first
  train.log                messages to the user, with times; the last line is `finished`
  metrics.jsonl            one line per epoch: epoch, time, metrics
  tracking.json            what MLflow has, and what it still lacks (tracking_record.py)
  last.pth, previous.pth   the newest checkpoint and the one before, with the state of training
  best.pth                 the checkpoint of the best score on `val`
  overlays/                photographs with truth and prediction, one picture for each new best
  eval/                    reports of `faceparse eval`, by checkpoint and split
  .lock                    held by the process that trains
"""

import json
import os
import secrets
import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field

from faceparse.core.errors import OutputError, SettingsError
from faceparse.core.files.leftovers import remove_leftovers
from faceparse.core.files.writing import append_line, make_folder, refuse_links_out, write_atomic
from faceparse.core.runs.tracking_record import TRACKING_FILE, Line, read_tracking
from faceparse.core.settings import Settings, flatten, read_settings, to_toml
from faceparse.core.text.shapes import parse_json_as

BEST, LAST, PREVIOUS = "best.pth", "last.pth", "previous.pth"
"""Checkpoints: that of the best score, the newest, and the one before."""
SETTINGS_FILE, LOG_FILE, METRICS_FILE = "settings.toml", "train.log", "metrics.jsonl"
FINISHED = "finished"
"""Last line of the log of a run that came to its end."""


class RunDirectory:
    """Run directory that one process at a time holds. Release it with `close`.

    For example:

        directory = RunDirectory.create(settings)
        directory.log("hello")
        directory.close()
    """

    def __init__(self, path: Path) -> None:
        """Lock the directory, and make it where there is none.

        Raises:
            OutputError: it cannot be written, a link in it leads elsewhere, or another process holds it.
        """
        self.path = path
        make_folder(path)
        refuse_links_out(path, *(Path(here, name) for here, *names in os.walk(path) for name in chain(*names)))
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"{path}: another process is writing to this run; wait for it, or choose another run directory"
            ) from None
        remove_leftovers(path)

    @classmethod
    def create(cls, settings: Settings, path: Path | None = None) -> "RunDirectory":
        """Make a run directory at `path` or where the settings say. The resolved settings are its first file."""
        default = settings.experiment_dir / new_name()
        path = path or settings.train.run_dir or default
        if (path / LAST).exists():
            raise OutputError(
                f"{path}: already holds a run; go on with it by --resume {path} (to a later end with --epochs), or "
                "choose another folder"
            )
        run = cls(path)
        # Left by a run that never wrote a checkpoint. Where it begins again, it stays the same MLflow run.
        (path / METRICS_FILE).unlink(missing_ok=True)
        if not _is_begun_again(path, settings):
            (path / TRACKING_FILE).unlink(missing_ok=True)
        write_atomic(path / SETTINGS_FILE, to_toml(settings).encode())
        return run

    @staticmethod
    def check(path: Path) -> None:
        """Raise SettingsError unless `path` is a run directory."""
        if not (path / SETTINGS_FILE).is_file():
            raise SettingsError(
                f"{path}: not a run directory (no {SETTINGS_FILE} in it); one is runs/<experiment>/<time>-<id>"
            )

    @classmethod
    def reopen(cls, path: Path) -> "RunDirectory":
        """Hold an existing run directory."""
        cls.check(path)
        return cls(path)

    def check_settings(self, kept: Settings, epochs: int | None = None) -> None:
        """Refuse a settings file that was edited: a run goes on with the settings in its checkpoint.

        Settings that say where it runs may change, and the number of epochs, too, if the user names a new one.

        Args:
            epochs: number of epochs that the user names; None for none.

        Raises:
            SettingsError: names the keys that differ.
        """
        file = self.path / SETTINGS_FILE
        read = read_settings(file).moved_to(kept)
        found, began = flatten(read if epochs is None else read.lasting(kept.train.epochs)), flatten(kept)
        changed = [key for key in {**began, **found} if found.get(key) != began.get(key)]
        if changed:
            if changed == ["train.epochs"]:
                raise SettingsError(
                    f"{file}: has train.epochs = {found['train.epochs']}, and the checkpoint {began['train.epochs']}; "
                    f"say how long to train: faceparse train --resume {self.path} --epochs {found['train.epochs']}"
                )
            keys = ", ".join(f"{key} = {found.get(key, 'auto')!r} (was {began.get(key, 'auto')!r})" for key in changed)
            raise SettingsError(
                f"{file}: was edited, and a run goes on with the settings that it began with: {keys}; put these back, "
                f"or begin another run: faceparse train {file} --snapshot-dir NEW_FOLDER"
            )

    def extend(self, settings: Settings) -> None:
        """Write the settings of a run that gets another number of epochs.

        The checkpoint must get it, too. In between, `check_settings` says which number to name.
        """
        write_atomic(self.path / SETTINGS_FILE, to_toml(settings).encode())

    @classmethod
    def find(cls, settings: Settings) -> Path | None:
        """The newest unfinished run with exactly these settings and a checkpoint; None where there is none."""
        if settings.train.run_dir is not None:
            candidates = [settings.train.run_dir]
        else:
            candidates = sorted(settings.experiment_dir.glob("*/"), reverse=True)
        return next((path for path in candidates if _is_unfinished(path, settings)), None)

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.path.name

    def log(self, text: str) -> None:
        """Append a line with the time to train.log."""
        append_line(self.path / LOG_FILE, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def record(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl. It is on disk before MLflow or the user gets it."""
        line = {"epoch": epoch, "time": round(time.time(), 3), "metrics": dict(metrics)}
        append_line(self.path / METRICS_FILE, json.dumps(line))

    def metrics(self) -> list[Line]:
        """Lines of metrics.jsonl. Skips a last line that a kill cut short.

        Raises:
            SettingsError: one of them is damaged.
        """
        path = self.path / METRICS_FILE
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [_read_line(line, f"{path}:{n}") for n, line in enumerate(lines, 1) if line.endswith(b"\n")]

    def forget_after(self, epoch: int) -> None:
        """Drop the metrics of later epochs: their checkpoints were lost, and the run trains and records them again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["epoch"] <= epoch]
        write_atomic(self.path / METRICS_FILE, "".join(kept).encode())

    def close(self) -> None:
        """Release the directory."""
        self._lock.release()


class _Line(BaseModel):
    epoch: Annotated[int, Field(ge=0, lt=2**53)]
    time: Annotated[float, Field(ge=0, lt=2**40)]
    metrics: dict[str, float]


def _read_line(line: bytes, where: str) -> Line:
    try:
        found = parse_json_as(_Line, line)
        return Line(epoch=found.epoch, time=found.time, metrics=found.metrics)
    except ValueError as error:
        raise SettingsError(f"{where}: damaged ({error}); delete the line, whose points are lost") from None


def new_name() -> str:
    """New name for a run directory. Names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def is_finished(path: Path) -> bool:
    """Whether the run in this directory came to its end."""
    log = path / LOG_FILE
    return log.is_file() and log.read_bytes().endswith(f" {FINISHED}\n".encode())


def _is_begun_again(path: Path, settings: Settings) -> bool:
    """Whether a run with exactly these settings was stopped in this directory."""
    try:
        tracking = read_tracking(path)
    except SettingsError:
        return False
    return tracking is not None and tracking.status in ("RUNNING", "KILLED") and has_settings(path, settings)


def has_settings(path: Path, settings: Settings) -> bool:
    """Whether the run has these settings, apart from where it ran."""
    file = path / SETTINGS_FILE
    try:
        return file.is_file() and to_toml(read_settings(file).moved_to(settings)) == to_toml(settings)
    except SettingsError:  # settings of another version
        return False


def _is_unfinished(path: Path, settings: Settings) -> bool:
    return (path / LAST).exists() and has_settings(path, settings) and not is_finished(path)
