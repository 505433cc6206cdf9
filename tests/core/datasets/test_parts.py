"""Folds and shares: each photograph once, groups whole, nothing by chance."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from faceparse.core.datasets.dataset_groups import GROUPS_FILE, group_names
from faceparse.core.datasets.parts import divide, held_out_fold
from faceparse.core.errors import SettingsError
from faceparse.core.settings import DataSettings

TRAIN, VAL, TEST = [f"t{n:02d}" for n in range(17)], [f"v{n}" for n in range(4)], ["x0", "x1"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset whose files hold nothing: nobody reads them here."""
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        lines = []
        for name in names:
            for file in (tmp_path / f"images/{name}.jpg", tmp_path / f"labels/{name}.png"):
                file.parent.mkdir(exist_ok=True)
                file.touch()
            lines.append(f"images/{name}.jpg labels/{name}.png\n")
        (tmp_path / f"{split}_list.txt").write_text("".join(lines))
    return tmp_path


def data(root: Path, **changes: object) -> DataSettings:
    return DataSettings.model_validate({"root": root, **changes})


def ids(samples: Sequence[object]) -> list[str]:
    return [sample.id for sample in samples]  # type: ignore[attr-defined]


def write_groups(root: Path, *lines: str, header: str = "photograph,group") -> None:
    (root / GROUPS_FILE).write_text("\n".join((header, *lines)) + "\n")


def test_without_folds_the_lists_count(root: Path) -> None:
    parts = divide(data(root), 0)
    assert (ids(parts.train), ids(parts.val), parts.draws) == (TRAIN, VAL, 17)


@pytest.mark.parametrize("folds", [2, 3, 5, 21])
def test_each_photograph_but_those_of_test_is_held_out_once(root: Path, folds: int) -> None:
    held = []
    for fold in range(1, folds + 1):
        parts = divide(data(root, folds=folds, fold=fold), 0)
        assert sorted(ids(parts.train) + ids(parts.val)) == sorted(TRAIN + VAL)
        assert len(parts.val) in (21 // folds, -(-21 // folds))
        held += ids(parts.val)
    assert sorted(held) == sorted(TRAIN + VAL)


def test_folds_depend_on_the_seed_and_on_nothing_else(root: Path) -> None:
    def folds(seed: int) -> dict[str, int]:
        return {sample.id: fold for sample, fold in held_out_fold(data(root, folds=3), seed).items()}

    first = folds(0)
    lines = (root / "train_list.txt").read_text().splitlines()
    (root / "train_list.txt").write_text("\n".join(reversed(lines)) + "\n")
    assert folds(0) == first
    assert folds(1) != first


def test_folds_need_no_list_of_val(root: Path) -> None:
    (root / "val_list.txt").unlink()
    assert len(held_out_fold(data(root, folds=4), 0)) == 17


def test_a_group_stays_in_one_fold_and_folds_stay_equal(root: Path) -> None:
    people = {name: f"person {n % 7}" for n, name in enumerate(TRAIN + VAL)}
    write_groups(root, *(f"{name},{person}" for name, person in people.items()))
    held = held_out_fold(data(root, folds=3), 0)
    assert len({(people[sample.id], fold) for sample, fold in held.items()}) == 7
    assert sorted(Counter(held.values()).values()) == [6, 6, 9]  # 7 groups of 3


def test_a_photograph_without_a_group_is_one_of_its_own(root: Path) -> None:
    write_groups(root, "t00,t01", "t02,t01")
    parts = divide(data(root, folds=2, fold=1), 0)
    first, second, third = group_names(root, sorted(parts.train + parts.val, key=lambda one: one.id)[:3])
    assert first == third != second


def test_more_folds_than_groups_are_refused(root: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        held_out_fold(data(root, folds=22), 0)
    assert str(caught.value) == f"data.folds = 22: train and val of {root} have 21 photographs; lower it"
    write_groups(root, *(f"{name},{n % 2}" for n, name in enumerate(TRAIN + VAL)))
    with pytest.raises(SettingsError, match=r"have 2 groups of photographs; lower it$"):
        held_out_fold(data(root, folds=3), 0)


def test_one_run_needs_to_know_its_fold(root: Path) -> None:
    with pytest.raises(SettingsError, match=r"^data.folds = 3: one run holds out one of them; say which as data.fold"):
        divide(data(root, folds=3), 0)


def test_a_share_is_part_of_every_larger_one_and_val_stays(root: Path) -> None:
    before = set[str]()
    for share, count in ((0.01, 1), (0.25, 4), (0.5, 8), (0.75, 13), (1.0, 17)):
        parts = divide(data(root, share=share), 0)
        assert (len(parts.train), ids(parts.val), parts.draws) == (count, VAL, 17)
        assert before < set(ids(parts.train)) <= set(TRAIN)
        assert ids(parts.train) == sorted(ids(parts.train))  # the list's order
        before = set(ids(parts.train))


def test_a_share_holds_whole_groups(root: Path) -> None:
    write_groups(root, *(f"{name},{n // 5}" for n, name in enumerate(TRAIN)))
    for share in (0.1, 0.4, 0.7):
        parts = divide(data(root, share=share), 0)
        groups = Counter(group_names(root, parts.train))
        assert all(count == {"group 3": 2}.get(name, 5) for name, count in groups.items())
        assert len(parts.train) >= round(share * 17)


def test_a_share_of_a_fold_holds_nothing_of_what_is_held_out(root: Path) -> None:
    whole = divide(data(root, folds=3, fold=2), 0)
    half = divide(data(root, folds=3, fold=2, share=0.5), 0)
    assert half.val == whole.val
    assert set(half.train) < set(whole.train)
    assert half.draws == len(whole.train) == 2 * len(half.train)
