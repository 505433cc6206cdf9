"""Run a parser over a split: one confusion matrix for the whole set and each protocol, or counts of each image."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from faceparse.core.datasets.layout import Sample
from faceparse.core.images.warp import Size
from faceparse.core.labels.counts import confusion_counts
from faceparse.core.labels.mapping import ClassMapping
from faceparse.core.machine.parallel import Track, default_processes, map_threads, untracked
from faceparse.core.parser.inference import Parser
from faceparse.core.sampling.loader import Loader
from faceparse.core.scoring.protocols import Case, Protocol, View, protocol_for, read_case
from faceparse.core.scoring.records import Counts, count_image, no_counts


class LabelPair(NamedTuple):
    """Labels of one photograph under one protocol. Both are H x W uint8, in the protocol's space."""

    truth: np.ndarray
    prediction: np.ndarray


def parse_samples(
    parser: Parser,
    samples: Sequence[Sample],
    classes: int,
    protocols: Sequence[str],
    *,
    truth: ClassMapping | None = None,
    batch_size: int = 4,
    workers: int = 0,
) -> Iterator[dict[str, LabelPair]]:
    """Yield protocol -> labels for each sample, in order. Protocols with the same view share one run of the network.

    Args:
        classes: number of the parser's classes.
        truth: from the classes of the labels on disk to the parser's. Default: they are the same.
    """
    chosen = {name: protocol_for(name, parser.fit) for name in protocols}
    cases = _Cases(samples, classes, parser.input_size, list(chosen.values()), truth)
    loader = Loader(cases, _stack, device=parser.device, workers=workers, batch_size=batch_size)
    for views, batch in loader:
        logits = {view: parser.logits(pictures) for view, pictures in views.items()}
        for index, case in enumerate(batch):
            yield {
                name: LabelPair(truth.label, protocol.read_labels(logits[protocol.view][index], case.size, truth))
                for name, protocol in chosen.items()
                for truth in [case.truths[protocol.truth]]
            }


def evaluate(
    parser: Parser,
    samples: Sequence[Sample],
    classes: int,
    protocols: Sequence[str],
    *,
    batch_size: int = 4,
    workers: int = 0,
    track: Track = untracked,
) -> dict[str, np.ndarray]:
    """Confusion matrix of each protocol, summed over all samples. C x C int64."""
    total = {name: np.zeros((classes, classes), np.int64) for name in protocols}
    samples_parsed = parse_samples(parser, samples, classes, protocols, batch_size=batch_size, workers=workers)
    for parsed in track(samples_parsed, len(samples), "evaluate"):
        for name, one in parsed.items():
            total[name] += confusion_counts(one.truth, one.prediction, classes)
    return total


def count_samples(
    parser: Parser,
    samples: Sequence[Sample],
    classes: int,
    protocols: Sequence[str],
    *,
    truth: ClassMapping | None = None,
    batch_size: int = 4,
    workers: int = 0,
    track: Track = untracked,
) -> dict[str, Counts]:
    """Counts of each protocol, for each of the samples. Arguments as of `parse_samples`."""

    def count(parsed: dict[str, LabelPair]) -> dict[str, Counts]:
        return {name: count_image(one.truth, one.prediction, classes) for name, one in parsed.items()}

    samples_parsed = parse_samples(
        parser, samples, classes, protocols, truth=truth, batch_size=batch_size, workers=workers
    )
    # One block for all counts: thousands of small arrays would lie among freed large ones and pin their memory.
    found = {name: no_counts(len(samples), classes) for name in protocols}
    # In threads: counting releases Python's lock, and a GPU must not wait for the counts.
    threads = min(default_processes(), 4)
    counted = map_threads(count, samples_parsed, threads, ahead=2 * threads + 1)
    for image, counts in enumerate(track(counted, len(samples), "evaluate")):
        for name, one in counts.items():
            found[name].put(image, one)
    return found


class _Cases(Dataset[Case]):
    def __init__(
        self,
        samples: Sequence[Sample],
        classes: int,
        input_size: Size,
        protocols: Sequence[Protocol],
        truth: ClassMapping | None,
    ) -> None:
        self.samples, self.input_size, self.protocols = samples, input_size, protocols
        self.classes = classes if truth is None else len(truth.source)
        self.table = None if truth is None else truth.table

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Case:
        return read_case(self.samples[index], self.classes, self.input_size, self.protocols, self.table)


def _stack(cases: Sequence[Case]) -> tuple[Mapping[View, Tensor], Sequence[Case]]:
    """Views of the cases, N x H x W x 3 uint8 each, and the cases without views."""
    views = {view: torch.from_numpy(np.stack([case.views[view] for case in cases])) for view in cases[0].views}
    # Views leave the cases here, so that each picture is sent between processes only once.
    return views, [case._replace(views={}) for case in cases]
