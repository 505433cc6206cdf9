"""Find the photographs that a model is scored on, and check that their labels have the model's classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from faceparse.core.datasets.layout import SPLITS, DatasetFolder, Sample, count_shared, fingerprint, folder_label_set
from faceparse.core.datasets.parts import all_labelled, divide
from faceparse.core.errors import CheckpointError, DatasetError, SettingsError
from faceparse.core.labels.label_set import LabelSet, get_label_set, nearest
from faceparse.core.parser.trained import TrainedModel


@dataclass(frozen=True)
class Split:
    """One split of a dataset folder."""

    root: Path
    name: str
    samples: Sequence[Sample]
    label_set: LabelSet

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of its data, the same wherever the folder lies. Reads every label, once."""
        return fingerprint(self.root, [self.name])[self.name]


def find_split(
    trained: TrainedModel,
    *,
    data_dir: Path | None = None,
    split: str = "test",
    dataset: str | None = None,
    num_classes: int | None = None,
    same_classes: bool = True,
) -> Split:
    """Find a split to score `trained` on. Options that are not given come from the model.

    Args:
        dataset: label set, by name or TOML file.
        num_classes: number of classes that the model is expected to have.
        same_classes: refuse a split of other classes than the model's.

    Raises:
        SettingsError, DatasetError: the split or the dataset does not exist.
        CheckpointError: the model has not the expected number of classes, or the split has other classes.
    """
    if split not in SPLITS:
        raise SettingsError(f"--split {split!r}: not one of {', '.join(SPLITS)}{nearest(split, SPLITS)}")
    root = data_dir or trained.trained_on
    if root is None:
        raise SettingsError(f"{trained.source}: was not trained by faceparse; name the dataset with --data-dir")
    there = _lists(root)
    if there and split not in there:
        raise DatasetError(
            f"{DatasetFolder(root).list_path(split)}: no such list; there is --split {' or '.join(there)}"
        )
    samples = DatasetFolder(root).samples(split)
    if num_classes is not None and num_classes != (has := len(trained.label_set)):
        raise CheckpointError(
            f"{trained.source}: has {has} classes ({trained.label_set.name}), --num-classes says {num_classes}; "
            "take another checkpoint"
        )
    found = Split(root, split, samples, _label_set(trained, root, dataset))
    if same_classes:
        _must_agree(trained, found)
    return found


def seen_in_training(split: Split, model: TrainedModel) -> int:
    """Number of photographs that are also in the folder's list of train; 0 for train itself, or without such a list.

    Of a model that was trained on folds of the same folder, it is the number that it was trained on.
    """
    folder, data = DatasetFolder(split.root), model.settings.data
    if data.folds is not None and data.root.resolve() == split.root.resolve():
        trained = divide(data, model.settings.train.seed).train if data.fold is not None else all_labelled(data.root)
        return count_shared(split.samples, trained)
    if split.name == "train" or not folder.list_path("train").is_file():
        return 0
    return count_shared(split.samples, (folder.parse("train", line) for line in folder.lines("train") if line.text))


def held_out(root: Path) -> str:
    """Split that exports are compared on: test, or val where the dataset has no list for test."""
    return "val" if "test" not in (there := _lists(root)) and "val" in there else "test"


def _lists(root: Path) -> list[str]:
    return [split for split in SPLITS if DatasetFolder(root).list_path(split).is_file()]


def _label_set(trained: TrainedModel, root: Path, dataset: str | None) -> LabelSet:
    """Label set of the folder: as given, else as in the training settings, else the folder's own, else the model's."""
    if dataset:
        return get_label_set(dataset)
    data = trained.settings.data
    if data.label_set is not None and data.root.resolve() == root.resolve():
        return trained.label_set
    return folder_label_set(root) or trained.label_set


def _must_agree(trained: TrainedModel, split: Split) -> None:
    """Refuse other classes than the model's. Confused ids would give plausible, wrong scores."""
    ours, theirs, where = trained.label_set, split.label_set, f"{split.root} ({split.label_set.name})"
    if len(theirs) != len(ours):
        raise CheckpointError(
            f"{trained.source}: has {len(ours)} classes ({ours.name}), {where} says {len(theirs)}; "
            "take another checkpoint, or another dataset with --data-dir"
        )
    if trained.names_are_known and not ours.agrees_with(theirs):
        different = ((f"class {a!r}", repr(b)) for a, b in zip(ours.names, theirs.names, strict=True) if a != b)
        one, other = next(different, (f"left, the {ours.side}'s,", f"the {theirs.side}'s"))
        raise CheckpointError(
            f"{trained.source}: its {one} is {other} in {where}; "
            "the ids mean other things, prepare the dataset with the checkpoint's label set"
        )
