"""Splits that are drawn: exact shares for datasets that never grow, a stable hash for those that do."""

import hashlib

import pytest

from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.splits import split_by_hash, split_by_share
from faceparse.core.errors import DatasetError

# By shares.


@pytest.mark.parametrize(
    ("count", "val", "test", "expected"),
    [
        (10, 0.1, 0.2, (7, 1, 2)),
        (100, 0.25, 0.25, (50, 25, 25)),
        (3, 0.01, 0.01, (1, 1, 1)),
        (5, 0.0, 0.2, (4, 0, 1)),
        (5, 0.2, 0.0, (4, 1, 0)),
        (7, 0.0, 0.0, (7, 0, 0)),
    ],
)
def test_shares_become_counts_and_no_share_is_empty(
    count: int, val: float, test: float, expected: tuple[int, int, int]
) -> None:
    names = [f"n{i}" for i in range(count)]
    split = split_by_share(names, val=val, test=test, seed=0)
    assert set(split) == set(names)
    assert tuple(list(split.values()).count(name) for name in SPLITS) == expected


def test_a_split_depends_on_names_and_seed_alone() -> None:
    names = [f"n{i}" for i in range(40)]
    split = split_by_share(names, val=0.2, test=0.2, seed=5)
    assert split_by_share(reversed(names), val=0.2, test=0.2, seed=5) == split
    assert split_by_share(names, val=0.2, test=0.2, seed=6) != split


@pytest.mark.parametrize(("count", "val", "test"), [(2, 0.1, 0.1), (10, 0.5, 0.5), (1, 0.1, 0.0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(count: int, val: float, test: float) -> None:
    with pytest.raises(DatasetError) as caught:
        split_by_share([str(i) for i in range(count)], val=val, test=test, seed=0)
    assert str(caught.value) == (
        f"{count} photographs leave none to train on with val share {val} and test share {test}; label "
        "more, or choose smaller shares, such as --val 0 --test 0"
    )


# By a hash.


def number(name: str, seed: int) -> float:
    """Independently: the first six bytes of the hash as a fraction of their range."""
    return int(hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()[:12], 16) / 16**12


NAMES = [f"n{i}" for i in range(2000)]


def test_the_hash_alone_says_the_split() -> None:
    drawn = split_by_hash(NAMES, val=0.2, test=0.1, seed=7)
    assert drawn.lent == {}
    for name in NAMES:
        x = number(name, 7)
        assert drawn.of[name] == ("test" if x < 0.1 else "val" if x < 0.1 + 0.2 else "train")
    shares = {split: list(drawn.of.values()).count(split) / len(NAMES) for split in SPLITS}
    assert shares == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.03)


def test_the_split_of_a_name_is_a_golden_one() -> None:
    """It must never change: users' photographs would move between splits."""
    drawn = split_by_hash([f"face_{i}" for i in range(12)], val=0.25, test=0.25, seed=0)
    assert [name for name, split in sorted(drawn.of.items()) if split != "train"] == GOLDEN


GOLDEN = ["face_10", "face_2", "face_3", "face_7", "face_8", "face_9"]


def test_names_that_are_added_move_no_others() -> None:
    whole = split_by_hash(NAMES, val=0.1, test=0.1, seed=0).of
    for count in (60, 200, 1000):
        part = split_by_hash(NAMES[:count], val=0.1, test=0.1, seed=0)
        assert part.lent == {}
        assert part.of == {name: whole[name] for name in NAMES[:count]}


@pytest.mark.parametrize("seed", range(30))
def test_few_names_leave_no_split_empty_and_none_leaves_train_as_they_grow(seed: int) -> None:
    before: dict[str, str] = {}
    for count in range(4, 30):
        drawn = split_by_hash(NAMES[:count], val=0.1, test=0.1, seed=seed)
        assert set(drawn.of.values()) == set(SPLITS)
        left = {name for name, split in before.items() if split == "train" and drawn.of[name] != "train"}
        assert not left
        moved = {name for name, split in before.items() if drawn.of[name] != split}
        assert len(moved) <= 2  # those that train had lent
        before = drawn.of


def test_train_lends_its_lowest_to_test_and_its_highest_to_val() -> None:
    names = [name for name in NAMES if number(name, 0) > 0.1][:5]
    drawn = split_by_hash(names, val=0.05, test=0.05, seed=0)
    ordered = sorted(names, key=lambda name: number(name, 0))
    assert drawn.lent == {"test": ordered[0], "val": ordered[-1]}
    assert drawn.of == dict.fromkeys(ordered[1:-1], "train") | {ordered[0]: "test", ordered[-1]: "val"}


def test_without_a_share_nothing_is_lent() -> None:
    assert set(split_by_hash(NAMES[:4], val=0.0, test=0.0, seed=0).of.values()) == {"train"}


def test_too_few_names_are_refused() -> None:
    with pytest.raises(DatasetError) as caught:
        split_by_hash(["a", "b"], val=0.1, test=0.1, seed=0)
    assert str(caught.value).startswith("2 photographs leave none to train on with val share 0.1 and test share 0.1; ")


def test_a_seed_that_leaves_a_split_empty_is_refused() -> None:
    seed = next(seed for seed in range(1000) if all(number(name, seed) < 0.9 for name in "abc"))
    with pytest.raises(DatasetError) as caught:
        split_by_hash("abc", val=0.0, test=0.9, seed=seed)
    assert str(caught.value) == (
        f"train: none of 3 photographs or groups with seed {seed}, val share 0.0 and test share 0.9; choose another "
        "--seed, or smaller shares"
    )
