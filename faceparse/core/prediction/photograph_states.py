"""A photograph on its way: decoded, cropped, parsed, saved. Or broken, from where it was noticed on."""

from dataclasses import dataclass

import numpy as np

from faceparse.core.faces.crops import Crop, PictureLabels
from faceparse.core.faces.face import Face
from faceparse.core.images.read_photograph import Picture
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.part_row import PartRow
from faceparse.core.prediction.photograph_facts import Facts
from faceparse.core.prediction.prediction_ledger import Entry


@dataclass(frozen=True)
class Decoded:
    """A photograph in memory."""

    source: Source
    picture: Picture
    stamp: str
    """The source's stamp, taken before it was read."""
    data: bytes
    """The encoded photograph."""


@dataclass(frozen=True)
class Photograph(Decoded):
    """A photograph, ready for the network."""

    faces: list[Face] | None
    """None where the picture is parsed as a whole."""
    crops: list[Crop]


@dataclass(frozen=True)
class Broken:
    """A photograph that could not be read."""

    source: Source
    problem: str
    """One line that names it."""
    stamp: str
    crops: tuple[Crop, ...] = ()


@dataclass(frozen=True)
class Parsed:
    """A photograph with its labels."""

    photo: Photograph
    labels: PictureLabels
    facts: Facts
    answers: list[np.ndarray] | None
    """Settled answers to its crops, C x h x w; None where no output is made of them."""


@dataclass(frozen=True)
class Saved:
    """A photograph whose outputs are in place, or one that is broken."""

    source: Source
    entry: Entry
    row: PartRow | None = None
    """Its outputs, where they are still to be written into a part."""
