"""Counts all photographs of a `predict`: those to look at, confidence, areas of classes.

Photographs come one by one, and the memory does not grow with their number.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from faceparse.core.prediction.part_row import utf8
from faceparse.core.prediction.photograph_facts import Facts

LEAST_SURE, EXAMPLES = 50, 20
"""Photographs that are named: those of least confidence, and those of each kind that are worth a look."""
LOW = 0.8
"""Confidence below which a photograph counts as unsure."""
SMALL = 1 / 4
"""Height of a face, as a share of the network's input, below which it counts as too small: the crop shows such a face
with some twice as many pixels a side as it has, or more."""
LOOKS = ("without_face", "several_faces", "small_face", "low_confidence", "broken")
"""Why a photograph is worth a look."""
QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")
STEPS, BARS = 10_000, 40
"""Shares are counted to 1/10,000; a histogram has so many bars."""


class Measured(NamedTuple):
    """A photograph that was tried."""

    where: str
    """Its path."""
    name: str
    """Name of its outputs."""
    facts: Facts | None
    """None if it is broken, or nothing was measured."""
    problem: str = ""
    """Why it is broken; empty if it is not."""


@dataclass
class Look:
    """Photographs of one kind that are worth a look."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Paths of the first ones."""

    def add(self, where: str) -> None:
        """Count a photograph."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(utf8(where))


@dataclass(frozen=True)
class Distribution:
    """Numbers from 0 to 1."""

    mean: float
    quantiles: dict[str, float]
    """`0.05` -> the smallest number that so large a share of all numbers does not exceed; to 1/10,000."""
    low: float
    """The smallest number, where the histogram begins."""
    high: float
    """The largest, where it ends."""
    histogram: list[int]
    """How many numbers are in each of `BARS` equal steps from `low` to `high`."""


class Shares:
    """Counts numbers from 0 to 1, to 1/10,000."""

    def __init__(self) -> None:
        self._counts = np.zeros(STEPS + 1, np.int64)
        self._sum = 0.0

    def add(self, share: float) -> None:
        """Count a number."""
        self._counts[round(min(max(share, 0.0), 1.0) * STEPS)] += 1
        self._sum += share

    def distribution(self) -> Distribution | None:
        """How they are distributed; None without a number."""
        total = int(self._counts.sum())
        if not total:
            return None
        there, up_to = np.flatnonzero(self._counts), self._counts.cumsum()
        quantiles = {q: int(np.searchsorted(up_to, float(q) * total)) / STEPS for q in QUANTILES}
        low, high = int(there[0]), int(there[-1])
        bars = np.histogram(there, BARS, (low, max(high, low + 1)), weights=self._counts[there])[0]
        return Distribution(
            round(self._sum / total, 6), quantiles, low / STEPS, high / STEPS, bars.astype(int).tolist()
        )


@dataclass(frozen=True)
class Sure:
    """A photograph with its confidence."""

    source: str
    name: str
    confidence: float


@dataclass(frozen=True)
class ClassAreas:
    """A class in all photographs."""

    name: str
    colour: str
    absent: int
    """Number of photographs without a pixel of it."""
    shares: Distribution | None
    """Its share of the pixels, in the photographs that have it; None if none has."""


@dataclass(frozen=True)
class ParsingReport:
    """All numbers of a report."""

    photographs: int
    """Number that were parsed and measured."""
    unmeasured: int
    """Number that were parsed before facts were kept."""
    faces: int | None
    """Number of faces; None where all photographs were parsed as a whole."""
    small_face: float | None
    """Height in pixels below which a face counts as too small; None if it is not known."""
    low_confidence: float
    """Confidence below which a photograph counts as unsure."""
    looks: dict[str, Look]
    """Each of `LOOKS` that is known, and the photographs."""
    confidence: Distribution | None
    """Confidence of the photographs with a face; None if there are none."""
    classes: list[ClassAreas]
    least_sure: list[Sure]
    """The photographs of least confidence, the least sure first."""


def summarize(
    measured: Iterable[Measured],
    classes: Mapping[str, str],
    small_face: float | None = None,
    *,
    knows_broken: bool = True,
) -> ParsingReport:
    """Count photographs.

    Args:
        classes: name of each class -> its colour, in the order of ids.
        small_face: height in pixels below which a face counts as too small for the network; None if it is not known.
        knows_broken: whether broken photographs are among them; if not, the report has no number of them.
    """
    looks = {kind: Look() for kind in LOOKS if kind != "broken" or knows_broken}
    shares, absent = [Shares() for _ in classes], [0] * len(classes)
    confidence, least = Shares(), list[Sure]()
    done = unmeasured = 0
    faces: int | None = None
    for one in measured:
        facts = one.facts
        if one.problem:
            looks["broken"].add(one.where)
        elif facts is None:
            unmeasured += 1
        else:
            done += 1
            for kind in _kinds(facts, small_face):
                looks[kind].add(one.where)
            if facts.faces is not None:
                faces = (faces or 0) + len(facts.faces)
            total = sum(facts.pixels) or 1
            for id_, pixels in enumerate(facts.pixels[: len(shares)]):
                if pixels:
                    shares[id_].add(pixels / total)
                else:
                    absent[id_] += 1
            if facts.confidence is not None:
                confidence.add(facts.confidence)
                least.append(Sure(utf8(one.where), one.name, facts.confidence))
        if len(least) > 20 * LEAST_SURE:
            least = _least(least)
    areas = [
        ClassAreas(name, colour, count, found.distribution())
        for (name, colour), count, found in zip(classes.items(), absent, shares, strict=True)
    ]
    return ParsingReport(
        photographs=done,
        unmeasured=unmeasured,
        faces=faces,
        small_face=small_face,
        low_confidence=LOW,
        looks=looks,
        confidence=confidence.distribution(),
        classes=areas,
        least_sure=_least(least),
    )


def _least(found: list[Sure]) -> list[Sure]:
    return sorted(found, key=lambda one: (one.confidence, one.name))[:LEAST_SURE]


def _kinds(facts: Facts, small_face: float | None) -> Iterator[str]:
    """Yield why a photograph is worth a look."""
    if facts.faces is not None:
        if not facts.faces:
            yield "without_face"
        if len(facts.faces) > 1:
            yield "several_faces"
        if small_face is not None and any(face.height < small_face for face in facts.faces):
            yield "small_face"
    if facts.confidence is not None and facts.confidence < LOW:
        yield "low_confidence"


def report_json(report: ParsingReport) -> bytes:
    """Content of `report.json`."""
    content = asdict(report)
    for one in content["least_sure"]:
        one["name"] = utf8(one["name"])
    return (json.dumps(content, indent=2) + "\n").encode()
