"""One mask a class: names, borders, overlaps, and masks that cannot be used."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.layout import SPLITS, DatasetFolder
from faceparse.core.datasets.prepare import prepare
from faceparse.core.datasets.prepare_report import PrepareReport
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import LabelSet

RANDOM = np.random.default_rng(0)
SIZE = (24, 32)
MINE = LabelSet(
    name="mine",
    side="none",
    classes={"background": "#000000", "skin": "#e9b08c", "left_eye": "#1f77b4", "eye": "#17becf"},
)
NAMES = ["anna", "anna_left", "ben", "cy"]
"""With `left_eye` and `eye`, `anna_left_eye.png` might be of two of them."""


def save(path: Path, picture: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **options)
    return path


def disjoint() -> np.ndarray:
    return RANDOM.integers(0, 4, SIZE, dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        save(tmp_path / "raw" / "photos" / f"{name}.png", RANDOM.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    return tmp_path / "raw"


def write(raw: Path, name: str, label: np.ndarray, pattern: str = "masks/{name}.{class}.png") -> None:
    for i, one in enumerate(MINE.names):
        if i:
            path = pattern.replace("{name}", name).replace("{class}", one)
            save(raw / path, np.where(label == i, 255, 0).astype(np.uint8))


def prepared(
    raw: Path, labels: str = "masks/*.{class}.png", **options: Any
) -> tuple[PrepareReport, dict[str, np.ndarray]]:
    out = raw.parent / "out"
    source = Folder(raw, label_set=MINE, images="photos/*.png", labels=labels, val=0.0, test=0.0, **options)
    report = prepare(source, out)
    folder = DatasetFolder(out)
    lists = [split for split in SPLITS if folder.list_path(split).is_file()]
    return report, {one.id: read_label(one.label) for split in lists for one in folder.samples(split)}


def reason(raw: Path, **options: Any) -> str:
    with pytest.raises((DatasetError, SettingsError)) as caught:
        prepared(raw, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "masks/{name}.{class}.png",
        "masks/{class}/{name}.png",
        "masks/{name}/{class}.PNG",
        "m/{class}/{name}_{class}.png",
    ],
)
def test_masks_become_the_label_they_were_made_of(photos: Path, pattern: str) -> None:
    expected = {name: disjoint() for name in NAMES}
    for name, label in expected.items():
        write(photos, name, label, pattern)
    report, found = prepared(photos, pattern.replace("{name}", "*").lower())
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in NAMES)
    assert not [note for note in report.notices if "overlap" in note or "without a photograph" in note]


def test_a_name_that_may_end_with_a_class_keeps_its_masks(photos: Path) -> None:
    for name in ("anna", "ben", "cy"):
        write(photos, name, disjoint(), "masks/{name}_{class}.png")
    save(photos / "masks" / "anna_left_skin.png", np.full(SIZE, 255, np.uint8))
    with pytest.raises(
        DatasetError, match=r"anna_left_eye.png: would be the label of .*anna.png and of .*anna_left.png"
    ):
        prepared(photos, "masks/*_{class}.png")


def test_where_masks_overlap_the_later_class_counts_and_it_is_said(photos: Path) -> None:
    for name in NAMES:
        write(photos, name, np.ones(SIZE, np.uint8))
    eye = np.zeros(SIZE, np.uint8)
    eye[4:8, 5:10] = 1
    save(photos / "masks" / "ben.eye.png", eye * 255)
    save(photos / "masks" / "cy.left_eye.png", eye * 255)
    save(photos / "masks" / "cy.eye.png", eye[::-1] * 255)
    report, found = prepared(photos)
    assert np.array_equal(found["ben"], np.where(eye == 1, 3, 1))
    assert np.array_equal(found["cy"], np.where(eye[::-1] == 1, 3, np.where(eye == 1, 2, 1)))
    assert (
        "masks overlap in 2 of 4 labels, most in cy (40 pixels): the class that is later in the label set counts there"
        in report.notices
    )


def test_a_class_without_a_file_has_no_pixels(photos: Path) -> None:
    for name in NAMES:
        save(photos / "masks" / f"{name}.skin.png", np.full(SIZE, 255, np.uint8))
    report, found = prepared(photos)
    assert all((label == 1).all() for label in found.values())
    assert any(note.startswith("in no label: background, left_eye, eye; ") for note in report.notices)


def test_a_mask_of_ignored_pixels(photos: Path) -> None:
    ignored = RANDOM.integers(0, 2, SIZE, dtype=np.uint8)
    for name in NAMES:
        write(photos, name, np.ones(SIZE, np.uint8))
        save(photos / "masks" / f"{name}.ignored.png", ignored * 255)
    _, found = prepared(photos)
    assert np.array_equal(found["anna"], np.where(ignored == 1, 255, 1))


KINDS: dict[str, Any] = {
    "0 and 1": lambda inside: inside.astype(np.uint8),
    "bool": lambda inside: inside,
    "0 and 7": lambda inside: inside.astype(np.uint8) * 7,
    "three channels": lambda inside: np.dstack([inside * np.uint8(255)] * 3),
    "16 bits": lambda inside: inside.astype(np.uint16) * 65535,
    "a colour": lambda inside: inside[..., None] * np.array([0, 40, 200], np.uint8),
    "opaque white": lambda inside: np.dstack([np.full((*SIZE, 3), 255, np.uint8), inside * np.uint8(255)]),
    "opaque black": lambda inside: np.dstack([np.zeros((*SIZE, 3), np.uint8), inside * np.uint8(255)]),
    "anti-aliased": lambda inside: (inside * 155 + RANDOM.integers(0, 100, SIZE)).astype(np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_however_a_mask_is_painted(photos: Path, kind: str) -> None:
    inside = RANDOM.random(SIZE) < 0.5
    for name in NAMES:
        save(photos / "masks" / f"{name}.skin.png", KINDS[kind](inside))
    _, found = prepared(photos)
    assert np.array_equal(found["anna"], inside)


def test_a_jpeg_is_a_mask(photos: Path) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = (y - 12) ** 2 + (x - 16) ** 2 < 80
    for name in NAMES:
        save(photos / "masks" / f"{name}.skin.jpg", inside * np.uint8(255), quality=80)
    _, found = prepared(photos, "masks/*.{class}.jpg")
    assert (found["anna"] != inside).mean() < 0.01


def test_an_empty_mask_is_empty(photos: Path) -> None:
    for name in NAMES:
        save(photos / "masks" / f"{name}.skin.png", np.zeros(SIZE, np.uint8))
    assert (prepared(photos)[1]["anna"] == 0).all()


def test_a_class_that_the_set_lacks_is_named_with_the_nearest(photos: Path) -> None:
    for name in NAMES:
        write(photos, name, disjoint())
    wrong = photos / "masks" / "ben.lefteye.png"
    (photos / "masks" / "ben.left_eye.png").rename(wrong)
    save(photos / "masks" / "zoe.skin.png", np.zeros(SIZE, np.uint8))
    expected = (
        f"{wrong}: 'lefteye' is no class of mine (background, skin, left_eye, eye, ignored); did you mean 'left_eye'?"
    )
    assert expected in reason(photos)
    report, found = prepared(photos, on_broken="skip")
    assert report.left_out == (expected,)
    assert sorted(found) == ["anna", "anna_left", "cy"]
    assert "1 label file without a photograph: zoe.skin.png" in report.notices


def test_a_photograph_without_any_mask_is_named(photos: Path) -> None:
    for name in NAMES[1:]:
        write(photos, name, disjoint())
    example = photos / "masks" / "anna.skin.png"
    expected = f"{photos / 'photos' / 'anna.png'}: no mask such as {example}; every photograph needs one at least"
    assert expected in reason(photos)


def animated() -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.fromarray(np.full(SIZE, value, np.uint8)) for value in (0, 255)]
    pictures[0].save(buffer, "PNG", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not a readable image; replace the file"),
        (animated(), "holds 2 pictures, and a mask is one; save the right one alone"),
        (png(np.zeros((5, 6), np.uint8)), "6 x 5, anna.skin.png is 32 x 24; save all alike"),
        (png(disjoint()), "has several values from 0 to 3, and a mask is black and white; save it so"),
        (
            png(np.dstack([np.repeat(disjoint()[..., None] * 80, 3, 2), np.eye(*SIZE, dtype=np.uint8) * 200 + 20])),
            "has transparent parts, and black and white ones; save it in black and white",
        ),
    ],
)
def test_masks_that_cannot_be_used_are_named(photos: Path, data: bytes, expected: str) -> None:
    for name in NAMES:
        write(photos, name, disjoint())
    wrong = photos / "masks" / "anna.left_eye.png"
    wrong.write_bytes(data)
    assert reason(photos).startswith(f"1 of 4 could not be prepared: {wrong}: {expected}")


def test_an_id_of_ignored_pixels_is_for_label_pictures(photos: Path) -> None:
    expected = "--ignored: is for label pictures; a mask of ignored pixels has the class 'ignored'"
    assert reason(photos, ignored="254") == expected
