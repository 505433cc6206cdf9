"""The photographs that a run trains on, and those that choose its best.pth: the lists, folds of them, or a share.

Photographs of one group of groups.csv stay together (`dataset_groups.py`).
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from faceparse.core.datasets.dataset_groups import group_names
from faceparse.core.datasets.layout import DatasetFolder, Sample
from faceparse.core.errors import SettingsError
from faceparse.core.settings import DataSettings


@dataclass(frozen=True)
class Parts:
    """Photographs of one run."""

    train: list[Sample]
    val: list[Sample]
    """The list that chooses best.pth, or the fold that is held out."""
    draws: int
    """Number of training photographs before a share of them is taken."""


def divide(data: DataSettings, seed: int) -> Parts:
    """Photographs that a run with these settings trains on, and those that choose its best.pth.

    Args:
        seed: chooses which photographs make a fold or a share.

    Raises:
        DatasetError: a list or groups.csv is bad, or there is none.
        SettingsError: there are more folds than groups, or no fold is chosen.
    """
    folder = DatasetFolder(data.root)
    if data.folds is None:
        train, val = folder.samples("train"), folder.samples(data.val_split)
    elif data.fold is None:
        raise SettingsError(
            f"data.folds = {data.folds}: one run holds out one of them; say which as data.fold, or train all by "
            "'faceparse train'"
        )
    else:
        held = held_out_fold(data, seed)
        train, val = (
            [sample for sample, fold in held.items() if (fold == data.fold) == inside] for inside in (False, True)
        )
    return Parts(_share(train, data, seed), val, len(train))


def held_out_fold(data: DataSettings, seed: int) -> dict[Sample, int]:
    """Photograph -> fold that holds it out, counted from 1, for all of train and val, in the lists' order.

    Groups go to the smallest fold so far, the largest group first, equal ones in the order of a hash of their names.

    Raises:
        DatasetError: a list or groups.csv is bad.
        SettingsError: there are more folds than groups.
    """
    assert data.folds is not None
    samples = all_labelled(data.root)
    groups = group_names(data.root, samples)
    members = Counter(groups)
    if data.folds > len(members):
        what = "groups of photographs" if len(members) < len(samples) else "photographs"
        raise SettingsError(
            f"data.folds = {data.folds}: train and val of {data.root} have {len(members)} {what}; lower it"
        )
    sizes = [0] * data.folds
    fold_of: dict[str, int] = {}
    for name in sorted(members, key=lambda name: (-members[name], _rank(name, seed))):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += members[name]
        fold_of[name] = smallest + 1
    return {sample: fold_of[name] for sample, name in zip(samples, groups, strict=True)}


def all_labelled(root: Path) -> list[Sample]:
    """Photographs of train and val, each once. There need not be a list of val."""
    folder = DatasetFolder(root)
    splits = ["train", *(["val"] if folder.list_path("val").is_file() else [])]
    return list(dict.fromkeys(sample for split in splits for sample in folder.samples(split)))


def _share(train: list[Sample], data: DataSettings, seed: int) -> list[Sample]:
    """The first groups in the order of a hash of their names, until they hold the share; in the list's order."""
    if data.share == 1:
        return train
    groups = group_names(data.root, train)
    wanted = max(1, round(data.share * len(train)))
    members, kept, count = Counter(groups), set[str](), 0
    for name in sorted(members, key=lambda name: _rank(name, seed)):
        if count >= wanted:
            break
        kept.add(name)
        count += members[name]
    return [sample for sample, name in zip(train, groups, strict=True) if name in kept]


def _rank(name: str, seed: int) -> bytes:
    """Place of a group in an order that depends on nothing but its name and the seed."""
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
