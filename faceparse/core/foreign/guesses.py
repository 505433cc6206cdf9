"""Asks photographs whether a description is right: scores the network under other descriptions, too."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from faceparse.core.datasets.layout import folder_label_set
from faceparse.core.errors import DatasetError
from faceparse.core.export.exported import ExportedModel
from faceparse.core.foreign.import_model import Importer
from faceparse.core.images.crop import Fit
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, untracked
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import Network
from faceparse.core.scoring.counting import count_samples
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import compute_all_scores
from faceparse.core.scoring.split import Split, find_split, held_out
from faceparse.core.settings import IMAGENET_MEAN, IMAGENET_STD

CLEARLY = 0.02
"""Mean F1 by which another description has to be better, so that a few photographs do not decide by chance."""

Triple = tuple[float, float, float]

_NORMALISATIONS: dict[str, tuple[float, Triple, Triple]] = {
    "ImageNet's mean and std": (1.0, IMAGENET_MEAN, IMAGENET_STD),
    "-1 to 1": (1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0 to 1": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "0 to 255": (255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Name -> scale, mean and std that networks are commonly trained with."""


class Guess(NamedTuple):
    """Another description, and how well the network scores under it."""

    change: str
    """Difference from the description, for people."""
    lines: str
    """Lines of the description's TOML that say so."""
    mean_f1: float


@dataclass(frozen=True)
class Trial:
    """The description as it is, and others."""

    photographs: int
    mean_f1: float
    """Mean F1 of the description as it is."""
    guesses: tuple[Guess, ...]
    """Best first."""
    absent: tuple[str, ...]
    """Classes that none of the photographs has: their place in the order was not tried."""

    @property
    def better(self) -> Guess | None:
        """The best guess, where it scores clearly better than the description."""
        best = next(iter(self.guesses), None)
        return best if best is not None and best.mean_f1 > self.mean_f1 + CLEARLY else None


def photographs_to_try(importer: Importer, dataset: Path, split: str | None, limit: int) -> Split:
    """The first photographs of a split: by default test, or val where there is no test.

    Raises:
        DatasetError: there is no such dataset or split, or its classes are not those that are described.
        SettingsError: `split` is no split.
    """
    label_set = importer.description.label_set
    if not dataset.is_dir():
        raise DatasetError(
            f"--try {dataset}: no such folder; name a prepared dataset with the classes of {label_set.name}"
        )
    theirs = folder_label_set(dataset)
    if theirs is not None and theirs.names != label_set.names:
        raise DatasetError(
            f"--try {dataset}: has the classes of {theirs.name}, the description those of {label_set.name}; name a "
            "prepared dataset with these, or import without --try"
        )
    found = find_split(importer.described_model(), data_dir=dataset, split=split or held_out(dataset))
    return replace(found, samples=found.samples[:limit])


def try_descriptions(importer: Importer, model: ExportedModel, split: Split, track: Track = untracked) -> Trial:
    """Score the network under its description, and with one thing changed at a time.

    What changes: the order of the classes, RGB or BGR, mean and std, how a photograph fills the input, the output.

    Args:
        model: the bundle's file.

    Raises:
        DatasetError: a photograph is broken.
    """
    label_set, classes = split.label_set, importer.description.classes
    own = _Scored.of(model.network(_CPU), split, model.fit, track)
    guesses = []
    with tempfile.TemporaryDirectory() as folder:
        for change, lines, other in _others(importer, model, Path(folder)):
            found = _Scored.of(other.network(_CPU), split, other.fit, track)
            guesses.append(Guess(change, lines, found.mean_f1))
    absent = tuple(name for name, pixels in zip(label_set.names, own.confusion.sum(axis=1), strict=True) if not pixels)
    order = _best_order(own.confusion, label_set)
    if order != tuple(range(len(order))):
        reordered = _Scored.of(_Reordered(model.network(_CPU), order), split, model.fit, track)
        # The class that the description gives to a channel is, by the truth, another one.
        named = [label_set.names[order.index(label_set.names.index(name))] for name in classes]
        moved = [f"{new} for {old}" for old, new in zip(classes, named, strict=True) if old != new]
        guessed = [new for old, new in zip(classes, named, strict=True) if old != new and new in absent]
        if guessed:
            moved.append(f"the place of {' or '.join(guessed)} is a guess, since no photograph here has it")
        listed = ", ".join(f'"{name}"' for name in named)
        guesses.append(
            Guess(f"another order of the classes ({'; '.join(moved)})", f"classes = [{listed}]", reordered.mean_f1)
        )
    best_first = sorted(guesses, key=lambda guess: -guess.mean_f1)
    return Trial(len(split.samples), own.mean_f1, tuple(best_first), absent)


_CPU = torch.device("cpu")


class _Scored(NamedTuple):
    mean_f1: float
    confusion: np.ndarray
    """Pixels by truth and prediction, C x C."""

    @classmethod
    def of(cls, network: Network, split: Split, fit: Fit, track: Track) -> "_Scored":
        """Score a network by the default protocol."""
        parser = Parser(network, _CPU, fit)
        counts = count_samples(parser, split.samples, len(split.label_set), [DEFAULT], track=track)[DEFAULT].sum()
        return cls(compute_all_scores(counts, split.label_set).mean_f1, counts.confusion)


def _others(importer: Importer, model: ExportedModel, folder: Path) -> Iterator[tuple[str, str, ExportedModel]]:
    """Yield what is changed, the lines that say so, and the model with that change."""
    data, picture = model.settings.data, importer.description.input
    other_order = "bgr" if data.channel_order == "rgb" else "rgb"
    line = f'channel_order = "{other_order}"'
    yield (
        f"{other_order.upper()} in place of {data.channel_order.upper()}",
        line,
        _with(model, channel_order=other_order),
    )
    for name, (scale, mean, std) in _NORMALISATIONS.items():
        changed = {"mean": tuple(one / scale for one in mean), "std": tuple(one / scale for one in std)}
        if not np.allclose((changed["mean"], changed["std"]), (data.mean, data.std), rtol=1e-3):
            yield name, f"scale = {scale}, mean = {list(mean)}, std = {list(std)}", _with(model, **changed)
    other_fit: Fit = "crop" if picture.fit == "stretch" else "stretch"
    yield f"{other_fit} in place of {picture.fit}", f'fit = "{other_fit}"', replace(model, fit=other_fit)
    for number, name in enumerate(importer.other_outputs):
        other = importer.write_model(folder / f"{number}.onnx", name, model.largest_batch)
        yield f"output {name!r}", f'name = "{name}" under [output]', other


def _with(model: ExportedModel, **changed: object) -> ExportedModel:
    data = model.settings.data.model_copy(update=changed)
    return replace(model, settings=model.settings.model_copy(update={"data": data}))


def _best_order(confusion: np.ndarray, label_set: LabelSet) -> tuple[int, ...]:
    """For each class, the class of the network whose pixels it fits best: the assignment with the highest mean F1."""
    both = confusion.sum(axis=1)[:, None] + confusion.sum(axis=0)[None]
    f1 = 2 * confusion / np.maximum(both, 1)
    f1 = f1 + 1e-6 * np.eye(len(label_set))  # a class that nobody has seen keeps its place
    return tuple(int(one) for one in linear_sum_assignment(-f1)[1])


class _Reordered:
    """A network whose classes change places."""

    def __init__(self, network: Network, order: Sequence[int]) -> None:
        self.network, self.input_size, self._order = network, network.input_size, list(order)

    def __call__(self, crops: Tensor) -> Tensor:
        return self.network(crops)[:, self._order]
