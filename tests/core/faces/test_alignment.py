"""Similarities against complex arithmetic done by hand, points from labels and from landmark files."""

import cmath
import math
from pathlib import Path

import numpy as np
import pytest

from faceparse.core.drawing.drawn_face import draw_face
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.faces.alignment import (
    FARL_512,
    UnusablePointsError,
    alignment_matrix,
    label_points,
    make_alignment,
    read_five_points,
    read_template,
    similarity,
)
from faceparse.core.images.warp import apply
from faceparse.core.labels.label_set import get_label_set
from tests.raw import helen_points

RANDOM = np.random.default_rng(0)
HELEN = get_label_set("helen")


@pytest.mark.parametrize("count", [2, 3, 5, 68])
def test_a_similarity_is_found_again(count: int) -> None:
    turn, shift = cmath.rect(1.7, 2.2), 30 - 12j
    source = RANDOM.uniform(-50, 50, (count, 2))
    target = [turn * complex(x, y) + shift for x, y in source]
    matrix = similarity(source, np.array([(z.real, z.imag) for z in target]))
    assert np.allclose(matrix, [[turn.real, -turn.imag, 30], [turn.imag, turn.real, -12]])


def test_no_other_similarity_comes_nearer() -> None:
    source, target = RANDOM.uniform(0, 100, (2, 5, 2))
    best = similarity(source, target)

    def distance(matrix: np.ndarray) -> float:
        return float(((apply(matrix, source) - target) ** 2).sum())

    assert best[0, 0] == best[1, 1]  # neither shear nor reflection
    assert best[0, 1] == -best[1, 0]
    for _ in range(300):
        a, b, x, y = RANDOM.normal(0, 0.01, 4)
        other = best + [[a, -b, 100 * x], [b, a, 100 * y]]
        assert distance(other) > distance(best)


def test_one_point_has_no_similarity() -> None:
    with pytest.raises(UnusablePointsError):
        similarity(np.ones((5, 2)), RANDOM.uniform(0, 9, (5, 2)))


@pytest.mark.parametrize("size", [512, 473, 100])
def test_the_template_grows_with_the_crop(size: int) -> None:
    assert np.allclose(read_template("farl", size), np.array(FARL_512) * size / 512)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("size = 112\npoints = [[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]]\n")
    alignment = make_alignment("labels", size=224, template=str(file), on_missing="skip")
    assert alignment.template == ((76, 104), (148, 104), (112, 144), (84, 184), (142, 184))
    points = np.array(alignment.template)
    assert np.allclose(alignment_matrix(points, alignment, (224, 224)), [[1, 0, 0], [0, 1, 0]])


@pytest.mark.parametrize(
    "content",
    [
        "size = 112",
        "points = [[1, 2]]\nsize = 1",
        "size = 0\npoints = [[1,2],[1,2],[1,2],[1,2],[1,2]]",
        "x",
        "size='a'",
    ],
)
def test_a_bad_template_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        read_template(str(file), 100)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"method": "points"}, "--align 'points': not one of auto, landmarks, labels, none"),
        ({"on_missing": "drop"}, "--on-missing 'drop': not one of identity, skip, fail"),
        ({"template": "arcface"}, "--template 'arcface': not farl, nor a .toml file with size and five points"),
    ],
)
def test_unknown_words_are_refused(options: dict[str, str], expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_alignment(**{"method": "auto", "template": "farl", "on_missing": "skip", **options}, size=100)
    assert str(caught.value) == expected


# Points from labels.


def paint(label: np.ndarray, name: str, x: tuple[int, int], y: tuple[int, int], names: tuple[str, ...]) -> None:
    label[y[0] : y[1] + 1, x[0] : x[1] + 1] = names.index(name)


def face_of_blocks() -> np.ndarray:
    label = np.zeros((60, 80), np.uint8)
    for name, x, y in (
        ("left_eye", (20, 26), (20, 22)),
        ("right_eye", (50, 56), (20, 22)),
        ("nose", (35, 41), (24, 38)),
        ("upper_lip", (30, 46), (44, 45)),
        ("lower_lip", (32, 44), (46, 48)),
    ):
        paint(label, name, x, y, HELEN.names)
    return label


def test_points_are_centroids_and_the_mouths_ends() -> None:
    expected = [(23, 21), (53, 21), (38, 31), (30.5, 44.5), (45.5, 44.5)]
    assert np.allclose(label_points(face_of_blocks(), HELEN), expected)


def test_points_turn_with_the_label() -> None:
    points = label_points(np.rot90(face_of_blocks()).copy(), HELEN)  # (x, y) -> (y, 79 - x)
    expected = [(y, 79 - x) for x, y in label_points(face_of_blocks(), HELEN)]
    assert np.allclose(points, expected)


@pytest.mark.parametrize("missing", ["left_eye", "right_eye", "nose"])
def test_a_face_that_does_not_show_a_part_has_no_points(missing: str) -> None:
    label = face_of_blocks()
    label[label == HELEN.names.index(missing)] = 1
    with pytest.raises(UnusablePointsError):
        label_points(label, HELEN)


def test_a_closed_mouth_without_lower_lip_still_has_corners() -> None:
    label = face_of_blocks()
    label[label == HELEN.names.index("lower_lip")] = 1
    assert np.allclose(label_points(label, HELEN)[3:], [(30.5, 44.5), (45.5, 44.5)])


def test_two_eyes_of_one_class_are_its_two_largest_pieces() -> None:
    fasseg = get_label_set("fasseg")
    label = np.zeros((60, 80), np.uint8)
    for name, x, y in (
        ("eyes", (50, 56), (20, 22)),
        ("eyes", (20, 26), (20, 22)),
        ("eyes", (70, 70), (3, 3)),
        ("nose", (35, 41), (24, 38)),
        ("mouth", (30, 46), (44, 46)),
    ):
        paint(label, name, x, y, fasseg.names)
    assert np.allclose(label_points(label, fasseg)[:2], [(23, 21), (53, 21)])
    label[:, 45:] = 0
    with pytest.raises(UnusablePointsError):
        label_points(np.where(label == fasseg.names.index("eyes"), label, 0), fasseg)


def test_the_subjects_eyes_lie_in_image_order() -> None:
    celeba = get_label_set("celebamask-hq")
    helen_to_celeba = {
        "left_eye": "r_eye",
        "right_eye": "l_eye",
        "nose": "nose",
        "upper_lip": "u_lip",
        "lower_lip": "l_lip",
    }
    label = np.zeros((60, 80), np.uint8)
    for theirs, ours in helen_to_celeba.items():
        label[face_of_blocks() == HELEN.names.index(theirs)] = celeba.names.index(ours)
    assert np.allclose(label_points(label, celeba), label_points(face_of_blocks(), HELEN))


def test_points_of_drawn_faces_are_near_their_landmarks() -> None:
    distances = []
    for seed in range(12):
        face = draw_face(np.random.default_rng(seed), 128)
        found = label_points(face.label, HELEN)
        scale = np.linalg.norm(face.points[1] - face.points[0])
        distances.append(np.linalg.norm(found - face.points, axis=1) / scale)
    eye_left, eye_right, nose, *corners = np.median(distances, axis=0)
    assert max(eye_left, eye_right, *corners) < 0.1
    assert nose < 0.4  # the centroid lies above the tip


# Points from files.


@pytest.fixture
def landmarks(tmp_path: Path) -> Path:
    return tmp_path / "points.txt"


FIVE = np.array([(10.5, 20), (30, 21), (20, 30.25), (14, 40), (27, 41)])


def test_the_106_points_of_lapa(landmarks: Path) -> None:
    points = RANDOM.uniform(0, 50, (106, 2))
    points[[104, 105, 54, 84, 90]] = FIVE
    landmarks.write_text("106\n" + "".join(f"{x} {y}\n" for x, y in points))
    assert np.array_equal(read_five_points(landmarks, count=106, header=True), FIVE)


def test_the_68_points_of_300_w(landmarks: Path) -> None:
    points = RANDOM.uniform(0, 50, (68, 2))
    points[36:42] += FIVE[0] - points[36:42].mean(axis=0)
    points[42:48] += FIVE[1] - points[42:48].mean(axis=0)
    points[[30, 48, 54]] = FIVE[2:]
    landmarks.write_text("".join(f"{x}\t{y}\n" for x, y in points))
    assert np.allclose(read_five_points(landmarks), FIVE)


@pytest.mark.parametrize("corners", [1, -1])
def test_the_194_points_of_helen(landmarks: Path, corners: int) -> None:
    points = helen_points(FIVE)
    points[[113, 100]] = points[[113, 100][::corners]]
    landmarks.write_text("100032540_1\n" + "".join(f"{x} , {y}\n" for x, y in points) + "\n")
    assert np.allclose(read_five_points(landmarks, count=194, header=True), FIVE)


def test_five_points_are_themselves(landmarks: Path) -> None:
    landmarks.write_text("".join(f"{x},{y}\n" for x, y in FIVE))
    assert np.array_equal(read_five_points(landmarks), FIVE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("106\n" + "1 2\n" * 105, ": has 105 points, not 106; download it again"),
        ("106\n" + "1 2\n" * 50 + "one two\n", ":52: 'one two' is not a point 'x y'; fix the file"),
        ("106\n1 2 3\n", ":2: '1 2 3' is not a point 'x y'; fix the file"),
        ("", ": has 0 points, not 106; download it again"),
    ],
)
def test_a_bad_landmark_file_is_told_with_its_line(landmarks: Path, text: str, expected: str) -> None:
    landmarks.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_five_points(landmarks, count=106, header=True)
    assert str(caught.value) == f"{landmarks}{expected}"


def test_what_is_no_text_is_no_landmark_file(landmarks: Path) -> None:
    landmarks.write_bytes(b"\xff\x00\x81")
    with pytest.raises(DatasetError, match="cannot be read as landmarks"):
        read_five_points(landmarks)


def test_a_number_of_points_that_is_no_scheme_is_refused(landmarks: Path) -> None:
    landmarks.write_text("1 2\n" * 21)
    with pytest.raises(DatasetError, match="has 21 points, not 5 or 68 or 106 or 194"):
        read_five_points(landmarks)


def test_a_point_that_is_not_a_number_makes_a_face_unusable(landmarks: Path) -> None:
    landmarks.write_text("nan nan\n" + "1 2\n" * 4)
    alignment = make_alignment("landmarks", size=100, template="farl", on_missing="skip")
    with pytest.raises(UnusablePointsError, match="a point is missing"):
        alignment_matrix(read_five_points(landmarks), alignment, (50, 50))
    assert math.isnan(read_five_points(landmarks)[0, 0])
