"""Labels in a foreign order are rewritten once, whatever happens meanwhile."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from faceparse.core.checking.check import check_dataset
from faceparse.core.checking.class_orders import ORDERS
from faceparse.core.checking.remap import RemapReport, remap_labels
from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_label import read_label
from tests.core.checking.celeba import CELEBA, write_celeba

COUNT = 8
FARL = ORDERS["FaRL/SegFace"].split()


def add_raw(root: Path) -> Path:
    """Give each label one in its original image's space, larger than itself."""
    for path in sorted((root / "labels").iterdir()):
        (root / "labels_raw").mkdir(exist_ok=True)
        (root / "project").mkdir(exist_ok=True)
        label = np.kron(read_label(path), np.ones((2, 2), np.uint8))
        (root / "labels_raw" / path.name).write_bytes(encode_png(label))
        np.save(root / "project" / path.stem, np.eye(2, 3))
    return root


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_raw(write_celeba(tmp_path_factory.mktemp("remap") / "official", count=COUNT, size=64))


@pytest.fixture(scope="module")
def _foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_raw(write_celeba(tmp_path_factory.mktemp("remap") / "farl", order=FARL, count=COUNT, size=64))


@pytest.fixture
def foreign(_foreign: Path, tmp_path: Path) -> Path:
    """In FaRL's order; a test may spoil it."""
    return Path(shutil.copytree(_foreign, tmp_path / "foreign"))


def labels(root: Path) -> dict[str, list[list[int]]]:
    found = [path for folder in ("labels", "labels_raw") for path in (root / folder).rglob("*.png")]
    return {str(path.relative_to(root)): read_label(path).tolist() for path in found}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.mark.parametrize("processes", [1, 2])
def test_all_labels_are_the_official_ones_afterwards(official: Path, foreign: Path, processes: int) -> None:
    before, extra = contents(foreign), names(foreign)
    assert remap_labels(foreign, processes=processes) == RemapReport("FaRL/SegFace", 2 * COUNT, False)
    assert labels(foreign) == labels(official)
    assert names(foreign) == extra
    after = contents(foreign)
    assert {name for name in before if before[name] != after[name]} <= set(labels(official))
    report = check_dataset(foreign)
    assert (report.problems, report.order) == ((), "celebamask-hq")


def test_a_second_time_changes_nothing(foreign: Path) -> None:
    remap_labels(foreign)
    before = contents(foreign)
    assert remap_labels(foreign) == RemapReport(None, 0, False)
    assert contents(foreign) == before


def test_without_a_foreign_order_nothing_changes(own_faces: Path, official: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(official, tmp_path / "own"))
    for root in (own_faces, own):
        before = contents(root)
        assert remap_labels(root) == RemapReport(None, 0, False)
        assert contents(root) == before


def test_ignored_pixels_unlisted_labels_and_other_files(official: Path, foreign: Path) -> None:
    path = foreign / "labels" / "0.png"
    label = read_label(path)
    label[:3] = 255
    write_palette_png(path, label, CELEBA.palette())
    (foreign / "labels" / "more").mkdir()
    shutil.copy(foreign / "labels" / "1.png", foreign / "labels" / "more" / "unlisted.PNG")
    (foreign / "labels" / "notes.txt").write_text("mine")
    assert remap_labels(foreign).files == 2 * COUNT + 1
    expected = read_label(official / "labels" / "0.png")
    expected[:3] = 255
    assert np.array_equal(read_label(path), expected)
    unlisted = read_label(foreign / "labels" / "more" / "unlisted.PNG")
    assert np.array_equal(unlisted, read_label(official / "labels" / "1.png"))
    assert (foreign / "labels" / "notes.txt").read_text() == "mine"
    assert check_dataset(foreign).order == "celebamask-hq"


def test_a_listed_label_elsewhere_is_refused(foreign: Path) -> None:
    (foreign / "masks").mkdir()
    (foreign / "labels" / "0.png").rename(foreign / "masks" / "0.png")
    path = foreign / "test_list.txt"
    path.write_text(path.read_text().replace("labels/0.png", "masks/0.png"))
    before = contents(foreign)
    with pytest.raises(DatasetError) as caught:
        remap_labels(foreign)
    assert str(caught.value) == (
        f"{foreign / 'masks' / '0.png'}: listed, but no PNG in {foreign / 'labels'}; move it there before a remap"
    )
    assert contents(foreign) == before


@pytest.mark.parametrize("folder", ["labels", "labels_raw"])
def test_a_damaged_label_is_named_and_nothing_changes(official: Path, foreign: Path, folder: str) -> None:
    path = foreign / folder / "5.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    before = labels_but(foreign, path)
    with pytest.raises(DatasetError, match=f"{folder}/5.png: "):
        remap_labels(foreign)
    assert labels_but(foreign, path) == before
    path.write_bytes(whole)
    remap_labels(foreign)
    assert labels(foreign) == labels(official)


def labels_but(root: Path, damaged: Path) -> dict[Path, bytes]:
    folders = (root / "labels", root / "labels_raw")
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path != damaged}


def test_two_at_once_are_refused(foreign: Path) -> None:
    with FileLock(foreign / ".remap.lock"), pytest.raises(OutputError, match="another remap is at work"):
        remap_labels(foreign)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone: no such dataset folder"):
        remap_labels(tmp_path / "gone")
    with pytest.raises(DatasetError, match="train_list.txt: no such list"):
        remap_labels(tmp_path)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from faceparse.core.checking import remap

root, place, countdown = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def mortal(function):
    def call(*arguments, **keywords):
        global countdown
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)
    return call

owner = os if place == "rmdir" else remap
setattr(owner, place, mortal(getattr(owner, place)))
remap.remap_labels(root)
"""
"""Dies before the n-th call of one function."""

BEFORE = [("_rewrite", 1), ("_rewrite", COUNT + 3), ("_rename", 1)]
AFTER = [("_rename", 2), ("_rename", 3), ("_rename", 4), ("_rename", 5), ("_discard", 2), ("rmdir", 1), ("rmdir", 3)]


@pytest.mark.parametrize(("place", "call"), BEFORE + AFTER)
def test_a_killed_remap_is_done_again_or_finished_but_never_twice(
    official: Path, foreign: Path, place: str, call: int
) -> None:
    before = labels(foreign)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(foreign), place, str(call)], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    if (place, call) in BEFORE:
        assert labels(foreign) == before
        assert check_dataset(foreign).order == "FaRL/SegFace"
        assert remap_labels(foreign) == RemapReport("FaRL/SegFace", 2 * COUNT, False)
    else:
        with pytest.raises(DatasetError) as caught:
            check_dataset(foreign)
        assert str(caught.value) == (
            f"{foreign / '.remap'}: a remap of the labels was cut short; "
            f"finish it with 'faceparse check {foreign} --remap'"
        )
        assert remap_labels(foreign) == RemapReport(None, 0, True)
    assert labels(foreign) == labels(official)
    assert names(foreign) == names(official)
    assert check_dataset(foreign).problems == ()


def test_a_link_in_the_place_of_remapped_labels_is_not_followed(own_faces: Path, tmp_path: Path) -> None:
    victim = Path(shutil.copytree(own_faces, tmp_path / "victim"))
    before = sorted(victim.rglob("*"))
    (own_faces / ".remap").symlink_to(victim)
    with pytest.raises(OutputError, match=r"\.remap: a link leads to .*victim, outside"):
        remap_labels(own_faces)
    assert sorted(victim.rglob("*")) == before
