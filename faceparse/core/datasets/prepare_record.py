"""The journal and the record of a preparation: what became of each photograph, and whether it is still there."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from faceparse.core.datasets.source import Item
from faceparse.core.errors import DatasetError
from faceparse.core.text.toml_json import parse_json_as

RECORD = "prepared.jsonl"
"""One line for each photograph, in the order of ids; written once all are done."""
JOURNAL = ".prepared.jsonl"
"""The same lines in the order in which they were done."""

Status = Literal["kept", "aligned", "unaligned", "skipped", "broken"]


@dataclass(frozen=True)
class Outcome:
    """The end of one photograph's preparation: a line of the record."""

    id: str
    split: str
    source: str
    """Hash of the names, sizes and dates of its source files."""
    status: Status
    """kept: not meant to be aligned; unaligned and skipped: without usable points."""
    reason: str = ""
    ceiling: tuple[tuple[int, int, int], ...] = ()
    """For each class the pixels of intersection, of truth and of its way to the aligned image and back."""
    reading: str = ""
    """As the item's."""
    turned: bool = False
    """Whether the image was turned upright, as its EXIF orientation says."""
    stored: bool = False
    """Whether the label fits better as the image is stored, before that turn."""
    notice: str = ""
    """All that should be known of the image's file."""
    pixels: tuple[int, ...] = ()
    """The number of each class, then of those that are ignored."""

    def line(self) -> str:
        return json.dumps(vars(self))


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Outcomes by id. Skips lines that are damaged, such as the last of a process that was killed: what they told of is
    prepared again.
    """
    if not path.is_file():
        return {}
    found: dict[str, Outcome] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError, DatasetError):
            outcome = parse_json_as(Outcome, line)
            Item(outcome.id, outcome.split)  # an id that leads out of the folder is refused
            found[outcome.id] = outcome
    return found


def is_listed(outcome: Outcome) -> bool:
    """Whether the photograph is in its split's list."""
    return outcome.status != "skipped"


def files_of(outcome: Outcome) -> list[str]:
    """The files that a photograph's preparation leaves, relative to the dataset folder."""
    names = [f"images/{outcome.id}.jpg", f"labels/{outcome.id}.png"] if is_listed(outcome) else []
    if outcome.status == "aligned":
        names += [f"labels_raw/{outcome.id}.png", f"project/{outcome.id}.npy"]
    return names


def is_fresh(out: Path, outcome: Outcome | None, stamp: str) -> bool:
    """Whether a photograph is done, with its files there and its source files unchanged."""
    return outcome is not None and outcome.source == stamp and _files_exist(out, outcome)


def is_whole(out: Path, outcomes: Iterable[Outcome]) -> bool:
    """Whether a finished folder still has all that it is made of."""
    splits = {outcome.split for outcome in outcomes if is_listed(outcome)}
    return bool(splits) and (
        all((out / f"{split}_list.txt").is_file() for split in splits)
        and all(_files_exist(out, outcome) for outcome in outcomes)
    )


def _files_exist(out: Path, outcome: Outcome) -> bool:
    return all((out / name).is_file() for name in files_of(outcome))


def stamp_of(files: Sequence[Path], reading: str = "") -> str:
    """Hash of names, sizes and dates; a file that is not there counts as such."""
    digest = hashlib.sha256(reading.encode())
    for file in files:
        digest.update(os.fsencode(file.name))
        try:
            stat = file.stat()
            digest.update(f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b" missing\n")
    return digest.hexdigest()[:16]
