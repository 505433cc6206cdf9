"""Counts of the photographs that a trial's network did not see in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceparse.core.datasets.dataset_groups import GROUPS_FILE
from faceparse.core.datasets.layout import Sample, listing_hash
from faceparse.core.datasets.parts import Parts, divide
from faceparse.core.errors import DatasetError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.device import resolve_device
from faceparse.core.machine.parallel import Track, default_processes
from faceparse.core.parser.checkpoint_file import read_checkpoint
from faceparse.core.parser.inference import load_parser
from faceparse.core.runs.directory import LAST
from faceparse.core.scoring.counting import count_samples
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.records import Counts
from faceparse.core.training.state import read_training_state


@dataclass(frozen=True)
class Unseen:
    """Photographs and the counts of networks that were not trained on them."""

    samples: list[Sample]
    counts: Counts
    label_set: LabelSet
    network: np.ndarray
    """Which of the networks each photograph was scored by, from 0."""
    trained_on: list[int]
    """Number of photographs that each network was trained on."""


def count_unseen(checkpoints: Sequence[Path], track: Track) -> Unseen:
    """Score the networks, each on the photographs that chose its best.pth, which it was not trained on.

    Raises:
        CheckpointError, DatasetError: a file is broken, or the photographs have changed since a network was trained.
    """
    samples: list[Sample] = []
    counts: list[Counts] = []
    network: list[int] = []
    trained_on: list[int] = []
    for number, path in enumerate(checkpoints):
        model = read_checkpoint(path)
        data, train = model.settings.data, model.settings.train
        parts = divide(data, train.seed)
        _must_be_the_same(path, data.root, parts)
        trained_on.append(len(parts.train))
        found = count_samples(
            load_parser(model, resolve_device(train.device)),
            parts.val,
            len(model.label_set),
            [DEFAULT],
            batch_size=train.batch_size,
            workers=min(default_processes(), 8, len(parts.val) // 4),
            track=track,
        )
        samples += parts.val
        counts.append(found[DEFAULT])
        network += [number] * len(parts.val)
    merged = Counts(*(np.concatenate([getattr(one, name) for one in counts]) for name in ("confusion", "boundary")))
    return Unseen(samples, merged, model.label_set, np.array(network), trained_on)


def _must_be_the_same(checkpoint: Path, root: Path, parts: Parts) -> None:
    """Refuse other photographs than those of the training: the network may have been trained on them.

    Raises:
        DatasetError: a list, groups.csv or a file has changed.
    """
    last = read_checkpoint(checkpoint.with_name(LAST))
    began = read_training_state(last.training, last.path).listing
    if began != {"train": listing_hash(parts.train), "val": listing_hash(parts.val)}:
        raise DatasetError(
            f"{root}: photographs, labels or {GROUPS_FILE} have changed since {checkpoint.parent} was trained; put "
            "them back, or begin again in a new folder"
        )
