"""What is read from a crop: a face whose parts lie elsewhere than in the mean face, or are not seen."""

import cv2
import numpy as np
import pytest

from faceparse.core.faces.measure import fit, five_points, measure

SIDE, CELLS = 192, 48
TEMPLATE = np.array([0.38 + 0.48j, 0.62 + 0.48j, 0.5 + 0.6j, 0.5 + 0.76j])
POINTS = np.array([*TEMPLATE[:3], 0.42 + 0.76j, 0.58 + 0.76j])
AREAS = (0.004, 0.004, 0.012, 0.01)


def blob(centre: complex, radius: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """An ellipse in a map of CELLS x CELLS, drawn large and made small."""
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    middle = (round(centre.real * (SIDE - 1) * 16), round(centre.imag * (SIDE - 1) * 16))
    axes = (round(radius[0] * SIDE * 16), round(radius[1] * SIDE * 16))
    cv2.ellipse(drawn, middle, axes, angle, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return small(drawn)


def small(drawn: np.ndarray) -> np.ndarray:
    return (cv2.resize(drawn, (CELLS, CELLS), interpolation=cv2.INTER_AREA) / 255).astype(np.float32)


def face(centres: np.ndarray, tilt: float = 0.0) -> np.ndarray:
    """4 x CELLS x CELLS: eyes, nose and a mouth whose half length is 0.08."""
    radii = ((0.04, 0.025), (0.04, 0.025), (0.05, 0.07), (0.08, 0.03))
    return np.stack([blob(c, r, tilt if k == 3 else 0) for k, (c, r) in enumerate(zip(centres, radii, strict=True))])


def read(maps: np.ndarray) -> tuple[np.ndarray, float]:
    """The five points and the score."""
    (centres,), (evidence,), (own,) = measure(maps[None], SIDE, TEMPLATE, AREAS)
    (a, b), score = fit(TEMPLATE, centres, evidence)
    return five_points(maps, SIDE, centres, own, a * POINTS + b), score


def test_parts_that_lie_as_in_the_mean_face_are_read_there() -> None:
    points, score = read(face(TEMPLATE))
    np.testing.assert_allclose(points, POINTS, atol=0.008)
    assert score > 0.8


def test_a_face_turned_sideways_is_read_as_it_is_seen() -> None:
    seen = TEMPLATE + np.array([0.02, -0.05, -0.06 + 0.01j, -0.04])  # no similarity moves parts so
    points, _ = read(face(seen))
    np.testing.assert_allclose(points[:3], seen[:3], atol=0.012)
    np.testing.assert_allclose(points[3:], [seen[3] - 0.08, seen[3] + 0.08], atol=0.02)


@pytest.mark.parametrize("tilt", [-20, 15])
def test_a_mouth_that_is_drawn_to_one_side_keeps_its_slope(tilt: float) -> None:
    points, _ = read(face(TEMPLATE, tilt))
    end = 0.08 * np.exp(1j * np.radians(tilt))
    np.testing.assert_allclose(points[3:], [TEMPLATE[3] - end, TEMPLATE[3] + end], atol=0.012)


def test_the_ends_of_a_smile_lie_above_its_middle() -> None:
    maps = face(TEMPLATE)
    u = np.linspace(-0.08, 0.08, 60)
    curve = TEMPLATE[3] + u + 1j * (0.03 - 0.05 * (u / 0.08) ** 2)  # ends at 0.02 above
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    line = np.stack([curve.real, curve.imag], axis=1) * (SIDE - 1)
    cv2.polylines(drawn, [np.rint(line * 16).astype(np.int32)], False, 255, 5, cv2.LINE_AA, 4)
    maps[3] = small(drawn)
    points, _ = read(maps)
    np.testing.assert_allclose(points[3:], [curve[0], curve[-1]], atol=0.03)
    assert max(points[3:].imag) < TEMPLATE[3].imag < curve[30].imag


@pytest.mark.parametrize("hidden", range(4))
def test_a_part_that_is_not_seen_is_where_the_others_say(hidden: int) -> None:
    move = 0.95 * np.exp(1j * np.radians(8))
    shift = 0.03 - 0.04j
    maps = face(move * TEMPLATE + shift, 8)
    maps[hidden] = 0
    points, _ = read(maps)
    wanted = move * POINTS + shift
    np.testing.assert_allclose(points, wanted, atol=0.02)


def test_nothing_seen_is_no_face() -> None:
    points, score = read(np.zeros((4, CELLS, CELLS), np.float32))
    assert score == 0
    assert np.isfinite(points).all()


def test_sunglasses_stand_for_the_eyes_that_they_hide() -> None:
    maps = face(TEMPLATE)
    maps[:2] = 0
    assert read(maps)[1] == 0, "nose and mouth alone are no face"
    glasses = sum(blob(eye, (0.09, 0.06)) for eye in TEMPLATE[:2])
    points, score = read(np.stack([*maps, glasses]))
    assert score > 0.5
    np.testing.assert_allclose(points, POINTS, atol=0.02)


def test_glasses_that_one_sees_through_change_nothing() -> None:
    maps = face(TEMPLATE)
    frame = sum(blob(eye - 0.03, (0.09, 0.06)) for eye in TEMPLATE[:2]) * (maps[:2].max(axis=0) < 0.5)
    alone, with_frame = read(maps), read(np.stack([*maps, frame]))
    np.testing.assert_array_equal(alone[0], with_frame[0])
    assert alone[1] == with_frame[1]
