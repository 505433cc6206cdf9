from collections.abc import Sequence

import numpy as np
import pytest

from faceparse.core.faces.film_tracker import SEARCH_EVERY, FaceTracker
from faceparse.core.faces.finder import FaceFinder, FoundFace, PartMaps
from faceparse.core.faces.geometry import FaceGeometry
from tests.core.faces.test_finder import GEOMETRY, draw_face, error, part_maps

FACE = FoundFace(np.eye(2, 3), 0.9, np.zeros((4, 2)))


class Scripted(FaceFinder):
    """A finder that writes down what it is asked, and has its answers ready."""

    def __init__(self, found: Sequence[int], followed: Sequence[int]) -> None:
        self.found, self.followed = iter(found), iter(followed)
        self.asked = ""

    def __call__(self, image: np.ndarray) -> list[FoundFace]:
        self.asked += "s"
        return [FACE] * next(self.found)

    def follow(self, image: np.ndarray, faces: Sequence[FoundFace]) -> list[FoundFace]:
        self.asked += "f"
        return [FACE] * next(self.followed)


class Counting(FaceFinder):
    """A real one that counts its searches."""

    def __init__(self, maps: PartMaps, geometry: FaceGeometry) -> None:
        super().__init__(maps, geometry)
        self.searches = 0

    def __call__(self, image: np.ndarray) -> list[FoundFace]:
        self.searches += 1
        return super().__call__(image)


def asked(found: Sequence[int], followed: Sequence[int], frames: int) -> tuple[str, list[int]]:
    finder = Scripted(found, followed)
    tracker = FaceTracker(finder)
    counts = [len(tracker(np.zeros((4, 4, 3), np.uint8))) for _ in range(frames)]
    return finder.asked, counts


def test_faces_are_followed_between_searches() -> None:
    questions, counts = asked([2, 3, 3], [2] * (SEARCH_EVERY - 2) + [3] * 30, 2 * SEARCH_EVERY)
    between = "f" * (SEARCH_EVERY - 2)
    assert questions.startswith(f"s{between}s{between}")
    assert counts[: SEARCH_EVERY - 1] == [2] * (SEARCH_EVERY - 1)
    assert counts[SEARCH_EVERY] == 3


def test_a_lost_face_is_searched_for_at_once() -> None:
    questions, counts = asked([2, 1], [1, 1], 3)
    assert questions == "sfsf"
    assert counts == [2, 1, 1]


def test_an_empty_film_is_searched_now_and_then() -> None:
    questions, counts = asked([0] * 9, [], 3 * SEARCH_EVERY)
    assert 3 <= len(questions) <= 4
    assert counts == [0] * (3 * SEARCH_EVERY)


@pytest.mark.parametrize("step", [3.0, 8.0])
def test_a_moving_face_is_followed_without_a_search(step: float) -> None:
    finder = Counting(part_maps, GEOMETRY)
    tracker = FaceTracker(finder)
    for frame in range(SEARCH_EVERY - 1):
        picture = np.full((256, 384, 3), 90, np.uint8)
        centres = draw_face(picture, 120 + step * frame, 120, 140, 2 * frame)
        (face,) = tracker(picture)
        assert error(face, centres) < 0.06
    assert finder.searches == 1
