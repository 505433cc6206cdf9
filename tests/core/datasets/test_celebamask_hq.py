"""CelebAMask-HQ: parts painted over each other, CelebA's own splits."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from faceparse.core.datasets.celebamask_hq import CelebAMaskHQ
from faceparse.core.datasets.layout import DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.errors import DatasetError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from tests.raw import HELEN_TO_CELEBA, face, make_celebamask_hq

NAMES = get_label_set("celebamask-hq").names


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return make_celebamask_hq(tmp_path / "raw")


def mask_file(raw: Path, index: int, part: str) -> Path:
    return raw / "CelebAMask-HQ-mask-anno" / "0" / f"{index:05d}_{part}.png"


def test_splits_are_celebas_at_their_very_borders(raw: Path) -> None:
    splits = {item.id: item.split for item in CelebAMaskHQ(raw).items()}
    assert splits == {
        "00000": "train", "00001": "train", "00002": "val", "00003": "val", "00004": "test", "00005": "test",
    }  # fmt: skip


def test_a_subset_of_the_photographs_keeps_the_rule(raw: Path) -> None:
    for index in (0, 3, 4):
        (raw / "CelebA-HQ-img" / f"{index}.jpg").unlink()
    assert {item.id: item.split for item in CelebAMaskHQ(raw).items()} == {
        "00001": "train",
        "00002": "val",
        "00005": "test",
    }


def test_labels_have_the_official_ids(raw: Path, tmp_path: Path) -> None:
    prepare(CelebAMaskHQ(raw), tmp_path / "out")
    for index, sample in enumerate(sorted((tmp_path / "out" / "labels").iterdir())):
        drawn = face(index, (96, 96)).label
        expected = np.array([NAMES.index(part) for part in HELEN_TO_CELEBA], np.uint8)[drawn]
        assert np.array_equal(read_label(sample), expected)


def test_later_parts_lie_over_earlier_ones(raw: Path) -> None:
    everything = encode_png(np.full((96, 96), 255, np.uint8))
    for part in ("nose", "hat"):
        mask_file(raw, 0, part).write_bytes(everything)
    half = np.zeros((96, 96), np.uint8)
    half[:, :40] = 7  # nonzero is the part, whatever the value
    mask_file(raw, 0, "cloth").write_bytes(encode_png(half))
    source = CelebAMaskHQ(raw)
    item = next(item for item in source.items() if item.id == "00000")
    label = source.load(item).label
    assert (label[:, :40] == NAMES.index("cloth")).all()
    assert (label[:, 40:] == NAMES.index("hat")).all()


def test_colour_masks_are_masks_too(raw: Path) -> None:
    source = CelebAMaskHQ(raw)
    item = source.items()[0]
    before = source.load(item).label
    for file in item.files[1:]:
        cv2.imwrite(str(file), cv2.cvtColor(cv2.imread(str(file), 0), cv2.COLOR_GRAY2BGR))  # type: ignore[arg-type]
    assert np.array_equal(source.load(item).label, before)


def test_photographs_shrink_to_the_masks_size(raw: Path, tmp_path: Path) -> None:
    prepare(CelebAMaskHQ(raw), tmp_path / "out")
    (sample, *_) = DatasetFolder(tmp_path / "out").samples("train")
    large = read_image(raw / "CelebA-HQ-img" / "0.jpg")
    small = read_image(sample.image)
    assert (large.shape, small.shape) == ((192, 192, 3), (96, 96, 3))
    means = large.reshape(96, 2, 96, 2, 3).mean(axis=(1, 3))
    assert np.abs(means - small).mean() < 3  # JPEG


def test_a_photograph_without_masks_is_told(raw: Path, tmp_path: Path) -> None:
    for file in (raw / "CelebAMask-HQ-mask-anno" / "0").glob("00003_*"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"3\.jpg: no part masks; unpack CelebAMask-HQ-mask-anno again$"):
        prepare(CelebAMaskHQ(raw), tmp_path / "out")


def test_a_mask_of_another_size_is_told(raw: Path, tmp_path: Path) -> None:
    mask_file(raw, 1, "nose").write_bytes(encode_png(np.ones((48, 96), np.uint8)))
    with pytest.raises(DatasetError, match=r"00001_nose\.png: 96 x 48, other parts are 96 x 96; unpack it again$"):
        prepare(CelebAMaskHQ(raw), tmp_path / "out")


def test_a_damaged_mask_is_told(raw: Path, tmp_path: Path) -> None:
    mask_file(raw, 1, "nose").write_bytes(b"\x89PNG")
    with pytest.raises(DatasetError, match=r"00001_nose\.png: truncated or damaged mask; replace the file$"):
        prepare(CelebAMaskHQ(raw), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.partition("\n")[2], "first line is '    0        0   000001.jpg', not the header "),
        (lambda text: text.rpartition("    5")[0], "1 images such as 5.jpg are not in it; download it again"),
        (lambda text: text.replace("162770.jpg", ""), "3: '1   162769' is not 'idx orig_idx orig_file'; download it"),
        (lambda text: "", "first line is '', not the header 'idx orig_idx orig_file'; download it again"),
    ],
)
def test_a_bad_mapping_file_is_told(raw: Path, change: object, expected: str) -> None:
    mapping = raw / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text(change(mapping.read_text()))  # type: ignore[operator]
    with pytest.raises(DatasetError) as caught:
        CelebAMaskHQ(raw).items()
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(mapping))
    assert "\n" not in str(caught.value)
