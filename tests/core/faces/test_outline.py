"""Edges moved and faded, against distances between all pixels."""

import numpy as np
import pytest

from faceparse.core.errors import SettingsError
from faceparse.core.faces.crops import Crop, PictureLabels
from faceparse.core.faces.outline import Length, Outline, moved_edge, read_length

RANDOM = np.random.default_rng(0)
BLOB = np.zeros((24, 30), np.uint8)
BLOB[8:16, 9:20] = 255
BLOB[10:12, 12:14] = 0
BLOB[2, 25] = 255


def nearest(mask: np.ndarray, y: int, x: int) -> float:
    rows, columns = np.nonzero(mask)
    return float(np.hypot(rows - y, columns - x).min())


def signed(mask: np.ndarray, y: int, x: int) -> float:
    """Distance of a pixel's centre to the edge, which runs halfway between two pixels; positive inside."""
    return nearest(mask == 0, y, x) - 0.5 if mask[y, x] else 0.5 - nearest(mask, y, x)


@pytest.mark.parametrize("grow", [-2.0, -1, 0, 1, 2.5, 5])
@pytest.mark.parametrize("feather", [0.0, 1, 4])
def test_the_edge_moves_and_fades_by_distance(grow: float, feather: float) -> None:
    found = moved_edge(BLOB, grow, feather)
    for y, x in np.ndindex(BLOB.shape):
        inside = signed(BLOB, y, x) + grow
        expected = 255 * (inside > 0) if not feather else np.clip(255 * (inside / feather + 0.5), 0, 255)
        assert abs(int(found[y, x]) - expected) <= 0.51


def test_a_pixel_grows_to_a_disc_and_a_square_shrinks_from_all_sides() -> None:
    point = np.zeros((9, 9), np.uint8)
    point[4, 4] = 255
    assert (moved_edge(point, 1, 0) > 0).sum() == 9
    assert (moved_edge(point, 3, 0) > 0).sum() == 37
    square = np.zeros((9, 9), np.uint8)
    square[2:7, 2:7] = 255
    assert np.array_equal(moved_edge(square, -1, 0)[3:6, 3:6], np.full((3, 3), 255))
    assert (moved_edge(square, -1, 0) > 0).sum() == 9


def test_the_pictures_border_is_no_edge() -> None:
    whole = np.full((10, 10), 255, np.uint8)
    assert (moved_edge(whole, -3, 2) == 255).all()
    half = whole.copy()
    half[:, 5:] = 0
    assert np.array_equal(moved_edge(half, -3, 0)[:, :2], np.full((10, 2), 255))
    assert not moved_edge(half, -3, 0)[:, 2:].any()


def two_faces() -> tuple[PictureLabels, list[Crop]]:
    label = np.zeros((80, 120), np.uint8)
    owner = np.zeros((80, 120), np.uint16)
    label[20:60, 10:50], owner[20:60, 10:50] = 1, 1
    label[30:40, 50:60], owner[30:40, 50:60] = 1, 2  # touches the first
    label[35:38, 55:58] = 2
    empty = np.zeros((4, 4, 3), np.uint8)
    crops = [
        Crop(empty, np.eye(2, 3), (10, 20, 40, 40), 0),
        Crop(empty, np.eye(2, 3), (50, 30, 10, 10), 1),
        Crop(empty, np.eye(2, 3), (50, 30, 10, 10), 1, wide=True),
    ]
    return PictureLabels(label, owner), crops


def test_without_lengths_a_mask_ends_where_its_classes_end() -> None:
    parsed, crops = two_faces()
    assert np.array_equal(Outline().mask(parsed, crops, (1,)), 255 * (parsed.label == 1))


@pytest.mark.parametrize(("grow", "feather"), [(6.0, 0.0), (-3.0, 5.0), (30.0, 12.0)])
def test_in_pixels_all_faces_are_one_area(grow: float, feather: float) -> None:
    parsed, crops = two_faces()
    mask = (255 * (parsed.label == 1)).astype(np.uint8)
    found = Outline(Length(grow), Length(feather)).mask(parsed, crops, (1,))
    assert np.array_equal(found, moved_edge(mask, grow, feather))


def test_in_shares_each_face_has_its_own_lengths() -> None:
    parsed, crops = two_faces()
    found = Outline(Length(0.1, share=True), Length(0.05, share=True)).mask(parsed, crops, (1, 2))
    masks = [(255 * ((parsed.label > 0) & (parsed.owner == number))).astype(np.uint8) for number in (1, 2)]
    expected = np.maximum(moved_edge(masks[0], 4, 2), moved_edge(masks[1], 1, 0.5))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("share", [True, False])
def test_the_background_moves_with_the_tallest_face(share: bool) -> None:
    parsed, crops = two_faces()
    grow = Length(-0.1, share=True) if share else Length(-4)
    background = (255 * (parsed.label == 0)).astype(np.uint8)
    assert np.array_equal(Outline(grow).mask(parsed, crops, (0,)), moved_edge(background, -4, 0))
    nobody = PictureLabels(np.zeros((8, 9), np.uint8), np.zeros((8, 9), np.uint16))
    assert (Outline(grow).mask(nobody, [], (0,)) == 255).all()


def test_nothing_grows_from_nothing() -> None:
    parsed, crops = two_faces()
    assert not Outline(Length(5)).mask(parsed, crops, (7,)).any()
    assert not Outline(Length(5)).mask(PictureLabels(np.zeros_like(parsed.label), parsed.owner), [], (1,)).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("12", Length(12)), ("-2.5", Length(-2.5)), ("5%", Length(0.05, share=True)), (" 0 ", Length())],
)
def test_lengths_are_pixels_or_shares(text: str, expected: Length) -> None:
    assert read_length(text, "--grow", negative=True) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "12px",
            "--grow 12px: write pixels such as 12, or % of the face's height such as 5% or -12 or -5%, which shrinks",
        ),
        ("", "--grow : write pixels such as 12, "),
        ("nan", "--grow nan: write pixels "),
        ("1e9", "--grow 1e9: write pixels "),
        ("20000", "--grow 20000: more than 10000 pixels; choose less"),
        ("-1001%", "--grow -1001%: more than 1000%; choose less"),
    ],
)
def test_other_texts_are_refused(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_length(text, "--grow", negative=True)
    assert str(caught.value).startswith(expected)
    with pytest.raises(
        SettingsError, match=r"^--feather -1: write pixels such as 12, or % of the face's height such as 5%$"
    ):
        read_length("-1", "--feather")
