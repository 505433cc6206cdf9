"""Which split a photograph goes to, where the dataset does not say it itself."""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from faceparse.core.errors import DatasetError


def split_by_share(ids: Iterable[str], *, val: float, test: float, seed: int) -> dict[str, str]:
    """Splits by id, shuffled by `seed`, for datasets that never grow; a share above 0 gives at least one photograph.

    Raises:
        DatasetError: no photograph is left for train.
    """
    ordered = sorted(ids)
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    counts = [max(1, round(share * len(ordered))) if share > 0 else 0 for share in (test, val)]
    if sum(counts) >= len(ordered):
        raise _none_to_train_on(len(ordered), val, test)
    split = dict.fromkeys(shuffled, "train")
    split.update(dict.fromkeys(shuffled[: counts[0]], "test"))
    split.update(dict.fromkeys(shuffled[counts[0] : sum(counts)], "val"))
    return split


@dataclass(frozen=True)
class DrawnSplits:
    """Splits by the name of a photograph, or of a group of photographs."""

    of: dict[str, str]
    lent: dict[str, str]
    """Split that would be empty -> the name that train lends it."""


def split_by_hash(names: Collection[str], *, val: float, test: float, seed: int) -> DrawnSplits:
    """Splits by a hash of each name and the seed, for datasets that grow: a new name moves no other one.

    The hash gives each name a number from 0 to 1. Below `test` it is in test, in the next `val` in val, and else in
    train, so the shares are approximate. Of few names, none may be in test or val. Then train lends one: the lowest to
    test, the highest to val. When the dataset grows, that one may return to train. No name ever leaves train for test
    or val, except the lent ones.

        split_by_hash(["anna", "ben", "cy"], val=0.1, test=0.1, seed=0).of

    Raises:
        DatasetError: no name is left for train, or none for a split with a share.
    """
    numbers = {name: _number(name, seed) for name in names}
    ordered = sorted(numbers, key=lambda name: (numbers[name], name))
    split = {name: "test" if (x := numbers[name]) < test else "val" if x < test + val else "train" for name in ordered}
    lent: dict[str, str] = {}
    for place, share, last in (("test", test, 0), ("val", val, -1)):
        train = [name for name in ordered if split[name] == "train"]
        if share > 0 and train and place not in split.values():
            lent[place] = train[last]
            split[train[last]] = place
    wanted = {"train", *(["val"] if val > 0 else []), *(["test"] if test > 0 else [])}
    if len(ordered) < len(wanted):
        raise _none_to_train_on(len(ordered), val, test)
    if missing := wanted - set(split.values()):
        raise DatasetError(
            f"{min(missing)}: none of {len(ordered)} photographs or groups with seed {seed}, val share {val} and test "
            f"share {test}; choose another --seed, or smaller shares"
        )
    return DrawnSplits(split, lent)


def _number(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _none_to_train_on(photographs: int, val: float, test: float) -> DatasetError:
    return DatasetError(
        f"{photographs} photographs leave none to train on with val share {val} and test share {test}; label more, or "
        "choose smaller shares, such as --val 0 --test 0"
    )
