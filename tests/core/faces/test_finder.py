"""The finder on drawn faces, whose parts have colours of their own: what a perfect network would say is known."""

import cv2
import numpy as np
import pytest

from faceparse.core.faces.candidates import merge
from faceparse.core.faces.finder import FaceFinder, FinderOptions, FoundFace
from faceparse.core.faces.geometry import FaceGeometry

CENTRES = np.array([(0.38, 0.48), (0.62, 0.48), (0.5, 0.58), (0.5, 0.75)])
RADII = (0.035, 0.035, 0.07, 0.06)
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])
GEOMETRY = FaceGeometry(
    centres=tuple((float(x), float(y)) for x, y in CENTRES),
    points=((0.38, 0.48), (0.62, 0.48), (0.5, 0.58), (0.45, 0.75), (0.55, 0.75)),
    spread=((0.01, 0.01),) * 4,
    areas=tuple(float(np.pi * radius**2) for radius in RADII),
    count=100,
)


def draw_face(
    picture: np.ndarray, x: float, y: float, side: float, angle: float = 0.0, parts: tuple[int, ...] = (0, 1, 2, 3)
) -> np.ndarray:
    """A face whose crop of `side` pixels has its middle at (x, y), turned by `angle` degrees; its parts' centres."""
    turn = np.exp(1j * np.radians(angle))
    centres = ((CENTRES - 0.5) @ (1, 1j)) * turn * side + x + 1j * y
    for part in parts:
        centre = (round(centres[part].real * 16), round(centres[part].imag * 16))
        colour = tuple(int(value) for value in COLOURS[part])
        cv2.circle(picture, centre, round(RADII[part] * side * 16), colour, -1, cv2.LINE_AA, 4)
    return np.stack([centres.real, centres.imag], axis=1)


def part_maps(pictures: np.ndarray) -> np.ndarray:
    """What a perfect network says of pictures of the sizes that it takes."""
    assert not any(side % 32 for side in pictures.shape[1:3])
    return likeness(pictures)


def likeness(pictures: np.ndarray) -> np.ndarray:
    """How much each pixel is of each part's colour, at a quarter of the size."""
    near = []
    for picture in pictures:
        small = cv2.resize(picture, (picture.shape[1] // 4, picture.shape[0] // 4), interpolation=cv2.INTER_AREA)
        distance = np.abs(small[None].astype(np.float32) - COLOURS[:, None, None]).max(axis=3)
        near.append(np.clip(1 - distance / 128, 0, 1))
    return np.stack(near).astype(np.float32)


def find(picture: np.ndarray, **options: float) -> list[FoundFace]:
    return FaceFinder(part_maps, GEOMETRY, FinderOptions(**options))(picture)  # type: ignore[arg-type]


def five(centres: np.ndarray) -> np.ndarray:
    """The five points of a drawn face: a mouth is as wide as it is high."""
    left, right, nose, mouth = centres
    along = (right - left) / np.linalg.norm(CENTRES[1] - CENTRES[0]) * RADII[3]
    return np.stack([left, right, nose, mouth - along, mouth + along])


def error(face: FoundFace, centres: np.ndarray) -> float:
    """Mean distance of eyes, nose and the mouth's ends, in distances of the eyes."""
    apart = np.linalg.norm(face.points - five(centres), axis=1).mean()
    return float(apart / np.linalg.norm(centres[0] - centres[1]))


@pytest.mark.parametrize("angle", [0, -25, 45])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.7])
def test_a_face_is_found_and_aligned_at_every_size_and_angle(share: float, angle: float) -> None:
    picture = np.full((384, 512, 3), 90, np.uint8)
    side = share * 384 / 0.6
    centres = draw_face(picture, 260, 190, side, angle)
    (face,) = find(picture)
    assert error(face, centres) < 0.06
    assert face.score > 0.7
    found = face.matrix[:, :2] @ centres.T + face.matrix[:, 2:]
    np.testing.assert_allclose(found.T, CENTRES, atol=0.02)


def test_several_faces_are_found_each_once() -> None:
    picture = np.full((384, 512, 3), 90, np.uint8)
    drawn = [
        draw_face(picture, 100, 110, 150, 10),
        draw_face(picture, 300, 110, 110, -20),
        draw_face(picture, 420, 290, 170, 0),
        draw_face(picture, 130, 300, 90, 30),
    ]
    faces = find(picture)
    assert len(faces) == 4
    for centres in drawn:
        assert sum(error(face, centres) < 0.1 for face in faces) == 1


@pytest.mark.parametrize("hidden", range(4))
def test_one_hidden_part_does_not_hide_a_face(hidden: int) -> None:
    picture = np.full((256, 256, 3), 90, np.uint8)
    centres = draw_face(picture, 128, 120, 160, 5, tuple(part for part in range(4) if part != hidden))
    (face,) = find(picture)
    assert error(face, centres) < 0.12


def test_two_parts_alone_are_no_face() -> None:
    picture = np.full((256, 256, 3), 90, np.uint8)
    draw_face(picture, 128, 120, 160, 0, (0, 1))
    assert find(picture) == []


def test_parts_that_lie_otherwise_are_no_face() -> None:
    picture = np.full((256, 256, 3), 90, np.uint8)
    for part, (x, y) in enumerate([(60, 60), (200, 60), (190, 200), (60, 210)]):
        cv2.circle(picture, (x, y), 9, tuple(int(value) for value in COLOURS[part]), -1)
    assert find(picture) == []


def test_faces_below_the_smallest_are_not_looked_for() -> None:
    picture = np.full((384, 512, 3), 90, np.uint8)
    draw_face(picture, 260, 190, 0.1 * 384 / 0.6)
    assert len(find(picture, min_face=0.08)) == 1
    assert find(picture, min_face=0.4) == []


@pytest.mark.parametrize("size", [(40, 40), (1, 300), (500, 7)])
def test_a_picture_without_faces_may_have_any_size(size: tuple[int, int]) -> None:
    assert find(np.full((*size, 3), 90, np.uint8)) == []


def test_of_near_twins_the_better_one_stays() -> None:
    template = CENTRES @ (1, 1j)
    middle = template.mean()
    proposals = np.array([[100, 50], [104, 48], [100, 50 + 90], [40, 50 + 60 * middle]], complex)
    assert merge(proposals, template) == [0, 2]
