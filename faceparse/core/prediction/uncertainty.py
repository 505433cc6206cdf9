"""Measures how unsure a model is of photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.faces.face import Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.matte import softmax
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.mirrored import BothViews
from faceparse.core.prediction.inputs import Source
from faceparse.core.prediction.parsed_photographs import PhotographParser, parsed_photographs
from faceparse.core.prediction.photograph_states import Broken


@dataclass(frozen=True)
class Doubt:
    """How unsure a model is of the face pixels of a picture.

    Face pixels are those of the aligned crops, or of the whole picture where faces are not looked for, which the model
    takes for another class than the background, in the crop or in its mirror image.
    """

    entropy: float
    """Mean entropy of the class probabilities, as a share of the largest possible: 0 to 1."""
    disagreement: float
    """Share of the face pixels whose class is another one in the mirror image: 0 to 1."""

    @property
    def uncertainty(self) -> float:
        """Both together, 0 to 2: the measure by which photographs are ranked."""
        return self.entropy + self.disagreement


@dataclass(frozen=True)
class Doubtful:
    """A photograph with the model's doubt."""

    source: Source
    faces: int | None
    """Number of found faces; None where faces are not looked for."""
    doubt: Doubt | None
    """None where the model sees no face pixel, so that nothing could be measured."""


def measure(views: Sequence[np.ndarray]) -> Doubt | None:
    """Doubt about all face pixels of some crops; None if there are none.

    `views` are answers of `BothViews`, 2C x h x w logits each.
    """
    pixels, entropy, changed = 0, 0.0, 0
    for one in views:
        straight, mirrored = np.split(one, 2)
        label, other = straight.argmax(axis=0), mirrored.argmax(axis=0)
        seen = (label != 0) | (other != 0)
        pixels += int(np.count_nonzero(seen))
        changed += int(np.count_nonzero(label != other))  # where they differ, one of them is no background
        entropy += float(_entropy(straight[:, seen]).sum())
    return Doubt(entropy / pixels, changed / pixels) if pixels else None


def mean_entropy(answers: Sequence[np.ndarray]) -> float | None:
    """Mean entropy of some crops' class probabilities, as a share of the largest possible; None without a pixel.

    It is that of `Doubt`, but over the pixels that the model takes for another class than the background in the crop
    alone: it needs no mirror image. `answers` are C x h x w logits each.
    """
    found = np.concatenate([np.empty(0), *(_entropy(one[:, one.argmax(axis=0) != 0]) for one in answers)])
    return float(found.mean()) if len(found) else None


def _entropy(logits: np.ndarray) -> np.ndarray:
    """C x N logits -> entropy of N probabilities, as a share of ln C."""
    shares = softmax(logits)
    logs = np.log(np.maximum(shares, np.finfo(shares.dtype).tiny))
    return np.asarray(-(shares * logs).sum(axis=0) / np.log(len(shares)))


def photographs_with_doubt(
    parser: Parser,
    sources: Sequence[Source],
    label_set: LabelSet,
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    batch_size: int = 4,
) -> Iterator[Doubtful | Broken]:
    """Yield each photograph with the model's doubt, in order; the network sees each crop twice."""
    both = Parser(BothViews(parser.network, label_set, parser.device), parser.device, parser.fit)
    for photo, answers in parsed_photographs(PhotographParser(both, finder, geometry, batch_size), sources):
        if isinstance(photo, Broken):
            yield photo
            continue
        views = [answer() for answer, crop in zip(answers, photo.crops, strict=True) if not crop.wide]
        yield Doubtful(photo.source, None if photo.faces is None else len(photo.faces), measure(views))
