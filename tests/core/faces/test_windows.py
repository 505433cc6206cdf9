"""Windows over pictures: what comes of them is what the whole picture would have given."""

import numpy as np
import pytest

from faceparse.core.faces.finder import FaceFinder, FinderOptions
from faceparse.core.faces.windows import ANY, PictureSizes, by_windows, fixed
from faceparse.core.images.warp import Size
from tests.core.faces.test_finder import GEOMETRY, draw_face, error, likeness, part_maps


class Seen:
    """Colours of pixels as probabilities at 1/`cell` of the size, from pictures of the sizes that are allowed."""

    def __init__(self, sizes: PictureSizes, cell: int = 4) -> None:
        self.sizes, self.cell = sizes, cell
        self.asked: list[Size] = []

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        height, width = pictures.shape[1:3]
        self.asked.append((height, width))
        for side, least, most in zip((height, width), self.sizes.least, self.sizes.most, strict=True):
            assert least <= side <= most
            assert least == most or side % 32 == 0
        first = self.cell // 2
        coarse = pictures[:, first :: self.cell, first :: self.cell, [0, 1, 2, 0]].astype(np.float32) / 255
        return coarse.transpose(0, 3, 1, 2)[:, :, : height // self.cell, : width // self.cell]


@pytest.mark.parametrize("cell", [2, 4])
@pytest.mark.parametrize("size", [(64, 64), (32, 160), (448, 96), (320, 704)], ids=str)
@pytest.mark.parametrize(
    "sizes", [fixed((96, 96)), fixed((97, 129)), PictureSizes((64, 64), (256, 256))], ids=["square", "odd", "any"]
)
def test_windows_come_together_to_the_whole(sizes: PictureSizes, size: Size, cell: int) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (2, *size, 3), np.uint8)
    seen = Seen(sizes, cell)
    found = by_windows(seen, sizes, 48)(pictures)
    expected = Seen(fixed(size), cell)(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_picture_that_fits_is_looked_at_once() -> None:
    seen = Seen(ANY)
    by_windows(seen, ANY, 128)(np.zeros((1, 2048, 64, 3), np.uint8))
    assert seen.asked == [(2048, 64)]


def test_windows_are_few_and_no_larger_than_need_be() -> None:
    seen = Seen(ANY)
    by_windows(seen, ANY, 128)(np.zeros((1, 64, 2080, 3), np.uint8))
    assert seen.asked == [(64, 1120)] * 2
    seen = Seen(fixed((256, 256)))
    by_windows(seen, fixed((256, 256)), 128)(np.zeros((1, 256, 640, 3), np.uint8))
    assert len(seen.asked) == 4


def test_every_spot_is_seen_with_what_is_around_it() -> None:
    """Neighbours share the overlap: what is that long lies in one window as a whole."""
    length, window, overlap = 1504, 256, 128
    sizes = fixed((window, window))
    for start in range(0, length - overlap, 4):
        starts = []

        def note(pictures: np.ndarray) -> np.ndarray:
            starts.append(int(pictures[0, 0, 0, 0]) * 256 + int(pictures[0, 0, 0, 1]))  # noqa: B023
            return np.zeros((1, 4, window // 4, window // 4), np.float32)

        row = np.arange(length)
        picture = np.stack([row // 256, row % 256, row * 0], axis=1).astype(np.uint8)
        by_windows(note, sizes, overlap)(np.broadcast_to(picture, (1, window, length, 3)))
        assert any(first <= start and start + overlap - 4 <= first + window for first in starts)


@pytest.mark.parametrize("side", [192, 256, 473])
def test_a_network_of_one_size_finds_small_and_large_faces(side: int) -> None:
    picture = np.full((500, 800, 3), 90, np.uint8)
    drawn = [draw_face(picture, 200, 250, 300, 10), draw_face(picture, 600, 120, 110, -20)]
    drawn.append(draw_face(picture, 560, 400, 90, 15))

    def of_one_size(pictures: np.ndarray) -> np.ndarray:
        assert pictures.shape[1:3] == (side, side)
        return likeness(pictures)

    options = FinderOptions(side=min(128, side // 2), crop=side)
    faces = FaceFinder(by_windows(of_one_size, fixed((side, side)), options.side), GEOMETRY, options)(picture)
    assert len(faces) == 3
    for centres in drawn:
        assert min(error(face, centres) for face in faces) < 0.06


@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
def test_a_panorama_is_searched_by_windows(turned: bool) -> None:
    """Its levels are longer than a network's largest picture."""
    picture = np.full((300, 6000, 3), 90, np.uint8)
    drawn = [
        draw_face(picture, x, 150, side, angle) for x, side, angle in [(90, 120, 5), (3010, 200, -15), (5900, 90, 0)]
    ]
    if turned:
        picture = np.full((6000, 300, 3), 90, np.uint8)
        drawn = [
            draw_face(picture, 150, y, side, angle)
            for y, side, angle in [(90, 120, 5), (3010, 200, -15), (5900, 90, 0)]
        ]
    seen: list[Size] = []

    def at_most(pictures: np.ndarray) -> np.ndarray:
        seen.append((pictures.shape[1], pictures.shape[2]))
        return part_maps(pictures)

    options = FinderOptions(min_face=0.008 if turned else 0.08)
    faces = FaceFinder(by_windows(at_most, ANY, options.side), GEOMETRY, options)(picture)
    assert max(max(size) for size in seen) <= 2048
    assert len(seen) > 8  # some levels took several windows
    assert len(faces) == 3
    for centres in drawn:
        assert min(error(face, centres) for face in faces) < 0.06


def test_of_a_crowd_the_surest_faces_are_kept() -> None:
    """200 faces in one photograph: the search ends, and what it finds are faces."""
    picture = np.full((1000, 2000, 3), 90, np.uint8)
    drawn = [
        draw_face(picture, 50 + 100 * column, 50 + 100 * row, 96, 3 * (row - column))
        for row in range(10)
        for column in range(20)
    ]
    spoilt = np.random.default_rng(3).integers(-40, 41, (125, 250, 1)).repeat(8, axis=0).repeat(8, axis=1)
    picture = np.clip(picture + spoilt, 0, 255).astype(np.uint8)  # some faces' eyes are surer than others'
    options = FinderOptions(min_face=0.05)
    faces = FaceFinder(by_windows(part_maps, ANY, options.side), GEOMETRY, options)(picture)
    assert len(faces) == options.most
    nearest = [min(range(len(drawn)), key=lambda i: error(face, drawn[i])) for face in faces]
    assert len(set(nearest)) == options.most
    assert max(error(face, drawn[i]) for face, i in zip(faces, nearest, strict=True)) < 0.1
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
