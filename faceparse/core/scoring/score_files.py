"""Read the scores.json of evaluations, which anybody may have written. `plain_data.py` writes them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from faceparse.core.files.reading import open_regular
from faceparse.core.scoring.bootstrap import Interval, interval
from faceparse.core.scoring.model_facts import ModelFile, Speed
from faceparse.core.text.shapes import parse_json_as

SCORES = "scores.json"
LARGEST = 32 * 2**20
"""Bytes of the largest file that is read: twenty times what many classes and protocols need."""

Fraction = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Side = Annotated[int, Field(strict=True, ge=1, le=2**16)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Number = Annotated[int, Field(strict=True, ge=0, lt=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProtocolScores(_Part):
    """Scores under one protocol, as far as a leaderboard shows them."""

    mean_f1: Fraction
    mean_iou: Fraction
    pixel_accuracy: Fraction
    mean_boundary_f1: dict[Text, Fraction] = {}
    intervals: dict[Text, tuple[Fraction, Fraction]] = {}
    resampled_mean_f1: Annotated[list[Fraction | None], Field(max_length=10**6)] = []
    """Mean F1 on each resample of the images; empty in files of earlier versions."""

    @property
    def interval(self) -> Interval | None:
        """Interval of the mean F1."""
        found = self.intervals.get("mean_f1")
        return None if found is None else Interval(*found)

    @model_validator(mode="after")
    def _belong_together(self) -> "ProtocolScores":
        """Refuse an interval that is not one, or is not that of the resamples."""
        given = self.interval
        if given is not None and given.low > given.high:
            raise ValueError("intervals.mean_f1: its low is above its high")
        if self.resampled_mean_f1:
            own = interval(as_array(self.resampled_mean_f1))
            if not all(
                math.isclose(a, b, abs_tol=1e-9) for a, b in zip(own or (-1, -1), given or (-1, -1), strict=True)
            ):
                raise ValueError("resampled_mean_f1: intervals.mean_f1 is not theirs")
        return self


class BootstrapSaid(_Part):
    """The resamples that intervals are from."""

    resamples: Number
    level: Fraction
    seed: Number
    groups: Number | None = None
    """Number of groups that were drawn whole; None where each image was drawn alone."""
    grouping: Hash | None = None
    """Hash of which image was in which of them."""


class ScoreFile(_Part):
    """Content of a scores.json. Keys that earlier versions did not write are None or empty."""

    protocols: Annotated[dict[Text, ProtocolScores], Field(min_length=1, max_length=100)]
    checkpoint: Text
    dataset: Text
    split: Text
    images: Annotated[Number, Field(ge=1)]
    input_size: tuple[Side, Side]
    classes: Annotated[tuple[Text, ...], Field(min_length=2, max_length=256)]
    tta: Annotated[str, Field(max_length=4096)] = ""
    epoch: Number | None = None
    label_set: Text | None = None
    mapped: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    truth: Annotated[dict[Text, tuple[Text, ...]], Field(max_length=256)] = {}
    bootstrap: BootstrapSaid | None = None
    fingerprint: Hash | None = None
    licence: Text | None = None
    model_file: ModelFile | None = None
    speed: Speed | None = None
    finished: AwareDatetime | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_protocol(cls, content: Any) -> Any:
        """Put the scores of a single protocol, which are at the top level, where those of several are."""
        if not isinstance(content, dict) or "protocols" in content or "protocol" not in content:
            return content
        return {**content, "protocols": {content["protocol"]: content}}


def read_scores(path: Path) -> ScoreFile:
    """Read a scores.json.

    Raises:
        DatasetError: it cannot be read, or is no regular file.
        ValueError: it is not what an evaluation writes; the message is one line.
    """
    with open_regular(path) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MiB")
    return parse_json_as(ScoreFile, data)


def as_array(values: Sequence[float | None]) -> np.ndarray:
    """N float64, nan for None."""
    return np.array(values, np.float64)
