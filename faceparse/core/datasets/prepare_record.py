"""The journal and the record of a preparation: the outcome of each photograph, and whether its files still exist."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from faceparse.core.datasets.dataset_groups import GROUPS_FILE
from faceparse.core.datasets.source import Item
from faceparse.core.errors import DatasetError
from faceparse.core.text.shapes import parse_json_as

MANIFEST = "prepared.toml"
"""File that names the source and the options that the folder was made with."""
RECORD = "prepared.jsonl"
"""One line for each photograph, in the order of ids; written once all are done."""
JOURNAL = ".prepared.jsonl"
"""The same lines in the order in which they were done."""

Status = Literal["kept", "aligned", "unaligned", "skipped", "broken"]


@dataclass(frozen=True)
class Outcome:
    """Result of one photograph's preparation: a line of the record."""

    id: str
    split: str
    source: str
    """Hash of the names, sizes and dates of its source files."""
    status: Status
    """kept: alignment is off. unaligned, skipped: no usable points. broken: it cannot be prepared, and is left out."""
    reason: str = ""
    ceiling: tuple[tuple[int, int, int], ...] = ()
    """Per class: pixels of the intersection, of the label, and of the label warped to the aligned image and back."""
    reading: str = ""
    """The item's `reading`."""
    turned: bool = False
    """Whether the EXIF orientation turned the image upright."""
    stored: bool = False
    """Whether the label fits the stored image, before that turn, better."""
    notice: str = ""
    """Note on the image's file; empty if there is none."""
    overlapping: int = 0
    """Number of pixels that several of the label's regions claimed."""
    merged: dict[str, int] = field(default_factory=dict)
    """Phrase for a class that a mapping merged -> its number of pixels."""
    pixels: tuple[int, ...] = ()
    """Number of pixels of each class, then of ignored pixels."""
    group: str = ""
    """The item's `group`."""

    def line(self) -> str:
        """The outcome as one line of JSON, without a line break."""
        return json.dumps(vars(self))


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """Outcomes by id. Skips damaged lines, such as the last line of a killed process.

    The photographs of skipped lines are prepared again.
    """
    if not path.is_file():
        return {}
    found: dict[str, Outcome] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        with suppress(ValueError, DatasetError):
            outcome = parse_json_as(Outcome, line)
            Item(outcome.id, outcome.split)  # raises where the id leads out of the folder
            found[outcome.id] = outcome
    return found


def is_listed(outcome: Outcome) -> bool:
    """Whether the photograph is in its split's list."""
    return outcome.status not in ("skipped", "broken")


def groups_of(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Id -> group, of the listed photographs that have one."""
    return {one.id: one.group for one in outcomes if one.group and is_listed(one)}


def files_of(outcome: Outcome) -> list[str]:
    """Files that a photograph's preparation writes, relative to the dataset folder."""
    names = [f"images/{outcome.id}.jpg", f"labels/{outcome.id}.png"] if is_listed(outcome) else []
    if outcome.status == "aligned":
        names += [f"labels_raw/{outcome.id}.png", f"project/{outcome.id}.npy"]
    return names


def is_fresh(out: Path, outcome: Outcome | None, stamp: str) -> bool:
    """Whether a photograph is done: its files exist, and its source files are unchanged."""
    return outcome is not None and outcome.source == stamp and _files_exist(out, outcome)


def is_whole(out: Path, outcomes: Collection[Outcome]) -> bool:
    """Whether a finished folder still has all its files."""
    splits = {outcome.split for outcome in outcomes if is_listed(outcome)}
    return bool(splits) and (
        all((out / f"{split}_list.txt").is_file() for split in splits)
        and ((out / GROUPS_FILE).is_file() or not groups_of(outcomes))
        and all(_files_exist(out, outcome) for outcome in outcomes)
    )


def _files_exist(out: Path, outcome: Outcome) -> bool:
    return all((out / name).is_file() for name in files_of(outcome))


def stamp_of(item: Item) -> str:
    """Hash of what is known of a photograph, and of its files' names, sizes and dates; a missing file counts so."""
    digest = hashlib.sha256(f"{item.reading}{item.problem}".encode("utf-8", "surrogateescape"))
    for file in item.files:
        digest.update(os.fsencode(file.name))
        try:
            stat = file.stat()
            digest.update(f" {stat.st_size} {stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(b" missing\n")
    return digest.hexdigest()[:16]
