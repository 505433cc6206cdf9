"""Label pictures: pixels that do not count, and colours that the label set lacks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from faceparse.core.datasets.folder_labels import FoundLabels, Photograph
from faceparse.core.datasets.label_pictures import LabelPictures
from faceparse.core.datasets.source import Item
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.text.path_pattern import Pattern

RANDOM = np.random.default_rng(0)
SIZE = (40, 50)
MINE = LabelSet(name="mine", side="none", classes={"background": "#000000", "skin": "#ff0000", "nose": "#00c800"})
HAIR = LabelSet(name="hair", side="none", classes={"background": "#000000", "hair": "#ffffff"})


def read(folder: Path, picture: np.ndarray, label_set: LabelSet = MINE, ignored: str | None = None) -> np.ndarray:
    Image.fromarray(picture).save(folder / "a.png")
    labels = LabelPictures(folder, Pattern("*.png"), label_set, ignored)
    found = labels.find([Photograph("a", folder / "a.jpg", ("a",), {})])
    return labels.read(Item("a", "train", (folder / "a.jpg", *found.files["a"]), found.reading), SIZE).ids


def test_an_id_may_be_ignored(tmp_path: Path) -> None:
    picture = RANDOM.choice(np.array([0, 1, 2, 100, 255], np.uint8), SIZE)
    assert np.array_equal(read(tmp_path, picture, ignored="100"), np.where(picture == 100, 255, picture))


def test_a_colour_may_be_ignored(tmp_path: Path) -> None:
    ids = RANDOM.integers(0, 4, SIZE)
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 200, 0), (255, 0, 255)], np.uint8)
    expected = np.array([0, 1, 2, 255])[ids]
    assert np.array_equal(read(tmp_path, colours[ids], ignored="#FF00ff"), expected)


def test_a_grey_may_be_ignored_in_masks_of_0_and_255(tmp_path: Path) -> None:
    ids = RANDOM.integers(0, 3, SIZE)
    picture = np.array([0, 255, 128], np.uint8)[ids]
    expected = np.array([0, 1, 255])[ids]
    assert np.array_equal(read(tmp_path, picture, HAIR, "#808080"), expected)


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ("2", 'is the class nose of mine; to ignore a class, give a --mapping with ignored = ["nose"]'),
        ("#00C800", 'is the class nose of mine; to ignore a class, give a --mapping with ignored = ["nose"]'),
        ("255", "an id from 0 to 254 or a colour like '#ff8000'; 255 is ignored without it"),
        ("-1", "an id from 0 to 254 or a colour like '#ff8000'; 255 is ignored without it"),
        ("grey", "an id from 0 to 254 or a colour like '#ff8000'; 255 is ignored without it"),
        ("#12345g", "a colour is written like '#ff8000'"),
    ],
)
def test_what_cannot_be_ignored_is_refused(tmp_path: Path, ignored: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        LabelPictures(tmp_path, Pattern("*.png"), MINE, ignored)
    assert str(caught.value).endswith(expected)
    assert str(caught.value).startswith("--ignored ")


def drawn(*, smooth: bool) -> Image.Image:
    """Skin with a nose, drawn four times as large and shrunk where borders are smooth."""
    scale = 4 if smooth else 1
    picture = Image.new("RGB", (SIZE[1] * scale, SIZE[0] * scale))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([scale * v for v in (5, 3, 45, 37)], fill=(255, 0, 0))
    draw.ellipse([scale * v for v in (20, 12, 30, 28)], fill=(0, 200, 0))
    return picture.resize(SIZE[::-1], Image.Resampling.BOX) if smooth else picture


def test_smooth_borders_are_no_unknown_class(tmp_path: Path) -> None:
    exact = read(tmp_path, np.asarray(drawn(smooth=False)))
    smooth = read(tmp_path, np.asarray(drawn(smooth=True)))
    assert (exact != smooth).mean() < 0.08
    assert set(np.unique(smooth)) == {0, 1, 2}


def test_an_area_of_an_unknown_colour_is_refused_with_the_nearest_class(tmp_path: Path) -> None:
    picture = drawn(smooth=True)
    ImageDraw.Draw(picture).rectangle((1, 1, 5, 5), fill=(0, 170, 20))
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, np.asarray(picture))
    assert str(caught.value) == (
        f"{tmp_path / 'a.png'}: colour #00aa14, as at (2, 2), is no class of 'mine'; the nearest is nose (#00c800); "
        "repaint it or add the colour to the label set"
    )


def test_suffixes_of_any_case_are_found(tmp_path: Path) -> None:
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(tmp_path / "a.Png", "PNG")
    found = LabelPictures(tmp_path, Pattern("*.pnG"), MINE).find([Photograph("a", tmp_path / "a.jpg", ("a",), {})])
    assert found.files == {"a": (tmp_path / "a.Png",)}


def test_a_label_that_is_missing_or_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    photographs = [Photograph(name, tmp_path / f"{name}.jpg", (name,), {}) for name in "ab"]
    found = LabelPictures(tmp_path, Pattern("*.png"), MINE).find(photographs)
    assert found == FoundLabels(
        {},
        {
            "a": f"{tmp_path / 'a.png'}: missing; every image needs its label picture (see --labels)",
            "b": f"{tmp_path / 'b.png'} is a broken link to {tmp_path / 'gone.png'}; fix the link",
        },
    )
