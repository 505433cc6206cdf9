"""A parser over a split: one confusion matrix for the whole set."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from faceparse.core.data.loader import Loader
from faceparse.core.datasets.layout import Sample
from faceparse.core.evaluation.confusion import confusion_counts
from faceparse.core.evaluation.protocols import Case, ProtocolName, read_case, to_truth_space
from faceparse.core.inference import Parser
from faceparse.core.parallel import Track, untracked


class _Cases(Dataset[Case]):
    def __init__(self, samples: Sequence[Sample], classes: int, crop: tuple[int, int], protocol: ProtocolName) -> None:
        self.samples, self.classes, self.crop, self.protocol = samples, classes, crop, protocol

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Case:
        return read_case(self.samples[index], index, self.classes, self.crop, self.protocol)


class Parsed(NamedTuple):
    """One scored photograph."""

    case: Case
    label: np.ndarray
    """Prediction in the truth's space, H x W uint8."""
    counts: np.ndarray
    """C x C int64."""


def parse_samples(
    parser: Parser,
    samples: Sequence[Sample],
    classes: int,
    *,
    protocol: ProtocolName = "eagrnet",
    batch_size: int = 4,
    workers: int = 0,
) -> Iterator[Parsed]:
    """Predict and count each sample, in order."""
    cases = _Cases(samples, classes, parser.input_size, protocol)
    loader = Loader(cases, _stack, device=parser.device, workers=workers, batch_size=batch_size)
    for crops, batch in loader:
        for case, prediction in zip(batch, parser.parse_crops(crops), strict=True):
            label = to_truth_space(prediction, case)
            yield Parsed(case, label, confusion_counts(case.truth, label, classes))


def evaluate(
    parser: Parser,
    samples: Sequence[Sample],
    classes: int,
    *,
    protocol: ProtocolName = "eagrnet",
    batch_size: int = 4,
    workers: int = 0,
    track: Track = untracked,
) -> np.ndarray:
    """C x C int64 confusion matrix, summed over all samples."""
    parsed = parse_samples(parser, samples, classes, protocol=protocol, batch_size=batch_size, workers=workers)
    total = np.zeros((classes, classes), np.int64)
    for one in track(parsed, len(samples), "evaluate"):
        total += one.counts
    return total


def _stack(cases: Sequence[Case]) -> tuple[Tensor, Sequence[Case]]:
    crops = torch.from_numpy(np.stack([case.photo.crop for case in cases]))
    # Between processes, each crop travels once.
    return crops, [case._replace(photo=case.photo._replace(crop=_SENT)) for case in cases]


_SENT = np.empty((0, 0, 3), np.uint8)
