"""Tracking record of a run in its run directory: what MLflow has, and what it still lacks."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from faceparse.core.errors import SettingsError
from faceparse.core.files.writing import write_atomic
from faceparse.core.runs.database import present_uri
from faceparse.core.text.shapes import parse_json_as

TRACKING_FILE = "tracking.json"

Say = Callable[[str], None]
"""Called with one line of text."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class Line(TypedDict):
    """A line of metrics.jsonl."""

    epoch: int
    """The step, from 1."""
    time: float
    """Seconds since 1970."""
    metrics: dict[str, float]
    """Name -> value."""


@dataclass
class TrackingRecord:
    """Content of tracking.json: how much of the run MLflow has."""

    uri: str
    experiment: str
    run_name: str
    key: str
    """Tag that finds the MLflow run again if the process dies before it can note the run's id."""
    started: float
    """Seconds since 1970, as `ended`."""
    params: dict[str, str]
    """Not delivered yet, as `tags` and `files`."""
    tags: dict[str, str]
    files: dict[str, str | None] = field(default_factory=dict)
    """Path in the run directory -> folder in MLflow; None is the top."""
    datasets: list["InputDataset"] = field(default_factory=list)
    """Not delivered yet."""
    evaluations: list["Evaluated"] = field(default_factory=list)
    """Not delivered yet."""
    run_id: str | None = None
    delivered: int = 0
    """Last step that was delivered; steps count from 1."""
    status: Status = "RUNNING"
    ended: float | None = None
    told: Status | None = None
    """Last status that was delivered."""
    best_epoch: int | None = None
    """Epoch of best.pth."""
    best_artifact: str | None = None
    """Path of best.pth among the run's artifacts."""
    linked_epoch: int | None = None
    """Epoch of the checkpoint in MLflow's logged model."""
    refused: dict[str, str] = field(default_factory=dict)
    """Name -> why MLflow refuses it for ever. All the rest is delivered."""
    folder: str | None = None
    """Run directory at the last write, by which a copy of it is recognised. Earlier versions' records lack it."""


@dataclass(frozen=True)
class InputDataset:
    """One split of a dataset as MLflow knows it."""

    name: str
    digest: str
    root: str
    """Dataset folder."""
    context: str
    """Purpose of the split in the run: train, val or test."""
    images: int
    label_set: str


@dataclass(frozen=True)
class Evaluated:
    """Scores of one of the run's checkpoints, counted after training."""

    epoch: int
    """Epoch of the checkpoint."""
    metrics: dict[str, float]
    tags: dict[str, str]
    dataset: InputDataset
    folder: str
    """Folder of the report and its files."""
    place: str
    """Folder for these files among the run's artifacts."""


REPORT = ("scores.json", "images.csv", "report.html", "worst/*.jpg")
"""Files of an evaluation's report. Nothing else is uploaded, whichever folder a record names."""


def report_files(done: Evaluated) -> Iterator[tuple[Path, str]]:
    """Files of the evaluation's report, each with its folder among the run's artifacts. Skips links out of it."""
    folder = Path(done.folder)
    for path in (path for pattern in REPORT for path in sorted(folder.glob(pattern))):
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            yield path, (Path(done.place) / path.relative_to(folder).parent).as_posix()


@dataclass
class Parcel:
    """Counts of things to deliver, or of things that were delivered."""

    points: int = 0
    """Values of one metric at one step."""
    labels: int = 0
    """Params and tags."""
    datasets: int = 0
    models: int = 0
    """Logged models: best.pth with its scores, once it is known to stay the best."""
    evaluations: int = 0
    files: int = 0
    missing: int = 0
    """Files to upload that no longer exist."""
    refused: int = 0
    """Things whose content MLflow refuses."""
    status: Status | None = None

    def __bool__(self) -> bool:
        return self != Parcel()

    def __str__(self) -> str:
        counts = {
            "points": self.points,
            "params and tags": self.labels,
            "datasets": self.datasets,
            "logged models": self.models,
            "evaluations": self.evaluations,
            "files": self.files,
            "files that are gone": self.missing,
            f"left out, as {TRACKING_FILE} says": self.refused,
        }
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        return ", ".join(parts + ([f"status {self.status}"] if self.status else [])) or "nothing"


def outstanding(tracking: TrackingRecord, lines: Sequence[Line]) -> Parcel:
    """Counts of everything that MLflow still lacks of a run; `lines` are those of metrics.jsonl."""
    return Parcel(
        points=sum(len(line["metrics"]) for line in undelivered(tracking, lines)),
        labels=len(tracking.params) + len(tracking.tags),
        datasets=len(tracking.datasets),
        models=int(lacks_model(tracking)),
        evaluations=len(tracking.evaluations),
        files=len(tracking.files),
        status=tracking.status if tracking.status != tracking.told else None,
    )


def lacks_model(tracking: TrackingRecord) -> bool:
    """Whether a logged model is due. Only at a run's end: before, each new best would make another one."""
    return (
        tracking.status != "RUNNING"
        and tracking.best_epoch is not None
        and tracking.best_epoch != tracking.linked_epoch
    )


def undelivered(tracking: TrackingRecord, lines: Sequence[Line]) -> list[Line]:
    """Lines of metrics.jsonl that MLflow lacks."""
    return [line for line in lines if line["epoch"] > tracking.delivered]


def read_tracking(folder: Path) -> TrackingRecord | None:
    """Read the tracking record of a run directory; None where the run was never tracked.

    Names the new path of a database that was moved together with the folder.

    Raises:
        SettingsError: the file is damaged.
    """
    path = folder / TRACKING_FILE
    try:
        tracking = parse_json_as(TrackingRecord, path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({error}); remove it, and the run gets a new MLflow run on --resume"
        ) from None
    inside = folder.resolve()
    if outside := [name for name in tracking.files if not (folder / name).resolve().is_relative_to(inside)]:
        raise SettingsError(f"{path}: names {outside[0]!r}, which lies outside the run directory; remove it there")
    tracking.uri = present_uri(tracking.uri, folder, tracking.run_id)
    return tracking


def write_tracking(folder: Path, tracking: TrackingRecord) -> None:
    """Write the tracking to tracking.json, with the folder that it lies in."""
    tracking.folder = str(folder.resolve())
    write_atomic(folder / TRACKING_FILE, json.dumps(asdict(tracking), indent=1).encode())
