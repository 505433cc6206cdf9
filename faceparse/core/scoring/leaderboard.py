"""Many evaluations side by side: one table for each set of scores that may be compared.

Scores may be compared if they are of the same pixels: one protocol on one split with the same data, in the same
classes. Where the truth's classes were mapped, these are other classes. A mapped model stands beside those that have
the truth's classes themselves.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.names.model_file import SCHEME
from faceparse.core.scoring.bootstrap import Difference, difference
from faceparse.core.scoring.score_files import SCORES, ProtocolScores, ScoreFile, as_array, read_scores
from faceparse.core.text.paths import files_below

TEMPORARY = ".faceparse-"
"""Beginning of the names of folders that are being written, as of `files/leftovers.py`."""


@dataclass(frozen=True)
class Found:
    """One evaluation on disk, under one protocol."""

    path: Path
    """The scores.json."""
    said: ScoreFile
    protocol: str
    finished: datetime
    """Time that the file states, or else the time at which it was written."""

    @property
    def scores(self) -> ProtocolScores:
        """Scores under the protocol."""
        return self.said.protocols[self.protocol]

    @property
    def comparable(self) -> tuple[str, ...]:
        """Values that are equal for scores that may be compared."""
        said = self.said
        # Without a hash of the data, the folder and the notes must say what was scored.
        data = [said.fingerprint] if said.fingerprint else [said.dataset, said.mapped]
        scored = [said.split, said.images, self.protocol, said.label_set, said.classes, said.truth]
        return tuple(json.dumps(one, sort_keys=True) for one in (*scored, *data))

    @property
    def subject(self) -> tuple[object, ...]:
        """Values that are equal for two evaluations of one thing. A file that is not known is like no other."""
        said = self.said
        file = said.model_file.sha256 if said.model_file else self.path
        return (file, said.input_size, said.tta, said.mapped)


@dataclass(frozen=True)
class Entry:
    """A row of a table."""

    rank: int
    name: str
    """Short name of the checkpoint, different from those of other checkpoints in the table."""
    found: Found
    gap: Difference | None
    """How much higher than the first row's its mean F1 is; None for the first row.

    It has an interval and a p-value where both have scores on the same resamples.
    """
    overlaps: bool | None
    """Whether its interval overlaps the first row's; None where one has no interval."""


@dataclass(frozen=True)
class Table:
    """Evaluations that may be compared, the highest mean F1 first."""

    entries: list[Entry]
    older: list[Path]
    """Evaluations in whose place a newer one of the same file is shown."""

    @property
    def about(self) -> Found:
        """An evaluation that stands for all: they agree on data, protocol and classes."""
        return self.entries[0].found

    @property
    def datasets(self) -> list[str]:
        """Names of the folders that the data was in."""
        return list(dict.fromkeys(Path(one.found.said.dataset).name for one in self.entries))

    @property
    def notes(self) -> list[str]:
        """Phrases for what was merged for these scores."""
        return list(dict.fromkeys(note for one in self.entries for note in one.found.said.mapped))


@dataclass(frozen=True)
class Leaderboard:
    """All evaluations below a folder."""

    folder: Path
    tables: list[Table]
    left_out: list[str]
    """A line for each scores.json that is no evaluation's: `FILE: why`."""


def read_leaderboard(folder: Path) -> Leaderboard:
    """Read every scores.json below a folder, and rank what may be compared.

    Raises:
        SettingsError: the folder does not exist, or has no evaluation in it.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such folder; name one with evaluations in it, such as runs")
    found, left_out = [], []
    for path in files_below(folder):
        if path.name == SCORES and not any(part.startswith(TEMPORARY) for part in path.parts):
            try:
                found += list(_by_protocol(path, read_scores(path)))
            except DatasetError as error:
                left_out.append(str(error))
            except ValueError as error:
                left_out.append(f"{path}: not the scores of an evaluation ({error})")
    if not found:
        why = f"; the first of {len(left_out)} files left out is {left_out[0]}" if left_out else ""
        raise SettingsError(f"{folder}: no evaluation in it{why}; 'faceparse eval' makes one")
    groups: dict[tuple[str, ...], list[Found]] = {}
    for one in found:
        groups.setdefault(one.comparable, []).append(one)
    tables = [rank(group) for group in groups.values()]
    return Leaderboard(folder, sorted(tables, key=_order), left_out)


def _by_protocol(path: Path, said: ScoreFile) -> Iterator[Found]:
    finished = said.finished or datetime.fromtimestamp(path.stat().st_mtime, UTC)
    for protocol in said.protocols:
        yield Found(path, said, protocol, finished)


def _order(table: Table) -> tuple[str, ...]:
    said = table.about.said
    return (*table.datasets, said.split, table.about.protocol, str(said.label_set), *said.mapped)


def rank(group: Sequence[Found]) -> Table:
    """Table of evaluations that may be compared. Of several of one file, the newest is shown."""
    by_age = sorted(group, key=lambda one: (one.finished, str(one.path)))
    newest = {one.subject: one for one in by_age}
    shown = sorted(newest.values(), key=lambda one: (-one.scores.mean_f1, str(one.path)))
    names = _names([one.said.checkpoint for one in shown])
    best = shown[0]
    entries = [
        Entry(
            rank=1 + sum(other.scores.mean_f1 > one.scores.mean_f1 for other in shown),
            name=names[one.said.checkpoint],
            found=one,
            gap=None if one is best else gap(best, one),
            overlaps=None if one is best else _overlap(best.scores, one.scores),
        )
        for one in shown
    ]
    return Table(entries, [one.path for one in by_age if newest[one.subject] is not one])


def gap(best: Found, other: Found) -> Difference:
    """How much higher the mean F1 of `other` is.

    The resamples of both are the same images if the seed and the data are. Then the differences on them say how much is
    chance, as in a comparison of checkpoints.
    """
    value = other.scores.mean_f1 - best.scores.mean_f1
    ours, theirs = best.scores.resampled_mean_f1, other.scores.resampled_mean_f1
    same_data = best.said.fingerprint is not None and best.said.fingerprint == other.said.fingerprint
    if not same_data or best.said.bootstrap != other.said.bootstrap or len(ours) != len(theirs):
        return Difference(value, None, None)
    return difference(value, as_array(theirs) - as_array(ours))


def _overlap(one: ProtocolScores, other: ProtocolScores) -> bool | None:
    if one.interval is None or other.interval is None:
        return None
    return one.interval.low <= other.interval.high and other.interval.low <= one.interval.high


def _names(checkpoints: Sequence[str]) -> dict[str, str]:
    """Checkpoint -> the shortest end of its path that no other one has. Registered models keep their names."""
    parts = {one: Path(one).parts for one in checkpoints}
    names = {}
    for one, own in parts.items():
        ends = (length for length in range(1, len(own) + 1) if _is_unique(one, length, parts))
        length = None if one.startswith(SCHEME) else next(ends, None)
        names[one] = one if length is None else "/".join(own[-length:])
    return names


def _is_unique(one: str, length: int, parts: Mapping[str, tuple[str, ...]]) -> bool:
    return all(other == one or theirs[-length:] != parts[one][-length:] for other, theirs in parts.items())
