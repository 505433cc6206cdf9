"""The drawn dataset: the same bytes for the same seed, on any number of processes."""

from pathlib import Path

import numpy as np
import pytest

from faceparse.core.checking.check import check_dataset
from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.synthetic import Synthetic


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "out"
    prepare(Synthetic(count=8, size=48, seed=3), out)
    return out


@pytest.mark.parametrize("processes", [1, 2])
def test_a_seed_gives_the_same_bytes_always(drawn: Path, tmp_path: Path, processes: int) -> None:
    prepare(Synthetic(count=8, size=48, seed=3), tmp_path / "again", processes=processes)
    assert contents(tmp_path / "again") == contents(drawn)


def test_another_seed_gives_other_faces(drawn: Path, tmp_path: Path) -> None:
    prepare(Synthetic(count=8, size=48, seed=4), tmp_path / "other")
    for name, data in contents(drawn).items():
        if name.startswith(("images/", "labels/")):
            assert (tmp_path / "other" / name).read_bytes() != data


def test_a_face_does_not_depend_on_how_many_there_are() -> None:
    few, many = Synthetic(count=4, size=48, seed=3), Synthetic(count=30, size=48, seed=3, test=0.5)
    for index in range(4):
        one, other = few.load(few.items()[index]), many.load(many.items()[index])
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.label, other.label)


def test_lists_are_disjoint_and_complete(drawn: Path) -> None:
    ids = {split: [sample.id for sample in DatasetFolder(drawn).samples(split)] for split in SPLITS}
    assert {split: len(names) for split, names in ids.items()} == {"train": 5, "val": 1, "test": 2}
    together = [name for names in ids.values() for name in names]
    assert sorted(together) == [f"face_{index:05d}" for index in range(8)]
    assert sorted(together) == sorted(path.stem for path in (drawn / "images").iterdir())


def test_nothing_is_wrong_with_it(drawn: Path) -> None:
    (missing,) = check_dataset(drawn).problems
    assert "missing, with 5 edge maps of train in all" in missing
    update_edges(drawn)
    assert check_dataset(drawn).problems == ()


def test_it_is_described_by_all_that_it_depends_on() -> None:
    described = Synthetic(count=9, size=40, seed=2, val=0.2, test=0.3).describe()
    assert described == {"source": "synthetic", "count": 9, "size": 40, "seed": 2, "val": 0.2, "test": 0.3}
