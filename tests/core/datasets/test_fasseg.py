"""FASSEG: painted labels become ids, and no test photograph is trained on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.checking.check import check_dataset
from faceparse.core.datasets.edges import update_edges
from faceparse.core.datasets.fasseg import Fasseg
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from tests.conftest import PHOTOGRAPHS

COLOURS = [(255, 0, 0), (127, 0, 0), (255, 255, 0), (0, 0, 255), (0, 255, 0), (0, 255, 255)]
"""Background, hair, skin, eyes, mouth, nose: as datasets.md has them."""
TRAIN, TEST = 10, 4
LEAKED = {3: 1, 8: 4}
"""Training photograph -> the test photograph that it is."""


def paint(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A label picture of blocks, a third of its pixels mixed with another colour as anti-aliasing does."""
    ids = np.kron(random.integers(0, 6, (4, 5)), np.ones((size[0] // 4, size[1] // 5), int))
    picture = np.array(COLOURS, float)[ids]
    other = np.array(COLOURS, float)[random.integers(0, 6, ids.shape)]
    mixed = random.random(ids.shape) < 0.33
    share = random.random((*ids.shape, 1)) * mixed[..., None]
    return np.rint(picture * (1 - share) + other * share).astype(np.uint8)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw layout with 10 training and 4 test photographs of several sizes; two of them stand in both."""
    root = tmp_path_factory.mktemp("fasseg") / "V2"
    random = np.random.default_rng(0)
    for part, count in (("Test", TEST), ("Train", TRAIN)):
        for kind in ("RGB", "Labels"):
            (root / f"{part}_{kind}").mkdir(parents=True)
        for n in range(1, count + 1):
            size = (16 + 4 * (n % 3), 20 + 5 * (n % 2))
            photo = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(photo).save(root / f"{part}_RGB" / f"{n}.bmp")
            Image.fromarray(paint(random, size)).save(root / f"{part}_Labels" / f"{n}.bmp")
    for train, test in LEAKED.items():
        for kind in ("RGB", "Labels"):
            shutil.copy(root / f"Test_{kind}" / f"{test}.bmp", root / f"Train_{kind}" / f"{train}.bmp")
    (root / "Train_RGB" / "Thumbs.db").write_bytes(b"")
    (root / "Train_RGB" / "copy of 1.bmp").write_bytes(b"")
    return root


@pytest.fixture
def own_raw(raw: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(raw, tmp_path / "V2"))


def ids_by_loop(picture: np.ndarray) -> list[list[int]]:
    def nearest(pixel: np.ndarray) -> int:
        distances = [sum((int(a) - b) ** 2 for a, b in zip(pixel, colour, strict=True)) for colour in COLOURS]
        return distances.index(min(distances))

    return [[nearest(pixel) for pixel in row] for row in picture]


def by_split(source: Fasseg) -> dict[str, list[str]]:
    items = source.items()
    return {split: [item.id for item in items if item.split == split] for split in SPLITS}


def test_training_photographs_that_stand_in_test_are_left_out(raw: Path) -> None:
    ids = by_split(Fasseg(raw))
    kept = [n for n in range(1, TRAIN + 1) if n not in LEAKED]
    assert sorted(ids["train"] + ids["val"]) == [f"train_{n:02d}" for n in kept]
    assert ids["test"] == [f"test_{n:02d}" for n in range(1, TEST + 1)]


def test_every_so_many_th_of_the_rest_is_val(raw: Path) -> None:
    rest = [f"train_{n:02d}" for n in range(1, TRAIN + 1) if n not in LEAKED]
    for every in (2, 3, 7):
        ids = by_split(Fasseg(raw, val_every=every))
        assert ids["val"] == [name for i, name in enumerate(rest, 1) if i % every == 0]
        assert ids["train"] == [name for i, name in enumerate(rest, 1) if i % every]


def test_lists_are_disjoint_complete_and_of_different_photographs(raw: Path, tmp_path: Path) -> None:
    report = prepare(Fasseg(raw), tmp_path / "out")
    assert report.splits == {"train": 7, "val": 1, "test": 4}
    samples = [sample for split in SPLITS for sample in DatasetFolder(tmp_path / "out").samples(split)]
    assert len({sample.id for sample in samples}) == 12
    assert len({sample.image.read_bytes() for sample in samples}) == 12
    assert {sample.id for sample in samples} == {path.stem for path in (tmp_path / "out" / "images").iterdir()}


def test_each_pixel_takes_the_nearest_of_the_six_colours(raw: Path, tmp_path: Path) -> None:
    prepare(Fasseg(raw), tmp_path / "out")
    for name, file in (("test_02", "Test_Labels/2.bmp"), ("train_10", "Train_Labels/10.bmp")):
        with Image.open(raw / file) as picture:
            expected = ids_by_loop(np.array(picture))
        label = read_label(tmp_path / "out" / "labels" / f"{name}.png")
        assert label.tolist() == expected
        assert len(np.unique(label)) > 3


def test_photographs_keep_their_size_and_look(raw: Path, tmp_path: Path) -> None:
    prepare(Fasseg(raw), tmp_path / "out")
    for n in range(1, TEST + 1):
        with Image.open(raw / "Test_RGB" / f"{n}.bmp") as picture:
            photo = np.array(picture)
        image = read_image(tmp_path / "out" / "images" / f"test_{n:02d}.jpg")
        assert image.shape == photo.shape
        assert np.abs(image.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))).max() < 3


def test_a_missing_label_is_named(own_raw: Path, tmp_path: Path) -> None:
    (own_raw / "Train_Labels" / "2.bmp").unlink()
    with pytest.raises(DatasetError) as caught:
        prepare(Fasseg(own_raw), tmp_path / "out")
    assert str(caught.value) == (
        f"1 of 12 could not be prepared: cannot read {own_raw / 'Train_Labels' / '2.bmp'}: No such file or directory"
    )


def test_a_truncated_bitmap_is_named(own_raw: Path, tmp_path: Path) -> None:
    path = own_raw / "Test_RGB" / "3.bmp"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DatasetError, match=r"1 of 12 could not .*Test_RGB/3\.bmp: truncated or damaged BMP"):
        prepare(Fasseg(own_raw), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*_list.txt"))


def test_a_label_of_another_size_is_named(own_raw: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(own_raw / "Test_Labels" / "1.bmp")
    with pytest.raises(DatasetError, match=r"Test_Labels/1\.bmp: label is 9 x 8, its image 25 x 20"):
        prepare(Fasseg(own_raw), tmp_path / "out")


def test_the_folder_around_it_does_as_well(raw: Path) -> None:
    assert Fasseg(raw.parent).items() == Fasseg(raw).items()


def test_another_folder_is_refused_with_what_is_expected(own_raw: Path, tmp_path: Path) -> None:
    for folder, expected in (
        (tmp_path / "nowhere", "no such folder"),
        (own_raw / "Test_RGB", "no Train_RGB and Train_Labels and Test_RGB and Test_Labels in it; give the folder as"),
    ):
        with pytest.raises(DatasetError) as caught:
            Fasseg(folder).items()
        assert str(caught.value).startswith(f"{folder}: {expected}")
    for bitmap in (own_raw / "Test_RGB").glob("*.bmp"):
        bitmap.unlink()
    with pytest.raises(DatasetError) as caught:
        Fasseg(own_raw).items()
    assert str(caught.value) == f"{own_raw / 'Test_RGB'}: no <n>.bmp in it; give FASSEG's V2 folder as it was unpacked"


def test_it_is_described_by_place_and_split(raw: Path) -> None:
    assert Fasseg(raw, val_every=3).describe() == {"source": "fasseg", "raw": str(raw), "val_every": 3}


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"the real photographs are not at {PHOTOGRAPHS}")
def test_the_real_photographs_are_prepared_and_nothing_is_wrong(tmp_path: Path) -> None:
    out = tmp_path / "fasseg"
    assert prepare(Fasseg(PHOTOGRAPHS), out, processes=2).splits == {"train": 12, "val": 2, "test": 50}
    update_edges(out, processes=2)
    report = check_dataset(out, processes=2)
    assert report.problems == ()
    assert report.label_set.name == "fasseg"
    shares = np.zeros(6)
    for sample in DatasetFolder(out).samples("test"):
        label = read_label(sample.label)
        shares += np.bincount(label.ravel(), minlength=6) / label.size / 50
    # Faces: some background, hair and skin, and little of eyes, mouth and nose, but some.
    assert all(shares[:3] > 0.1)
    assert all((shares[3:] > 0.001) & (shares[3:] < 0.05))
