"""The drawn faces: reproducible, correctly labelled, and varied."""

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from faceparse.core.drawing import drawn_classes as faces
from faceparse.core.drawing.drawn_classes import CLASSES
from faceparse.core.drawing.drawn_face import DrawnFace, draw_face

SEEDS = range(40)
LIPS = (faces.UPPER_LIP, faces.INNER_MOUTH, faces.LOWER_LIP)
EYE_LEFT, EYE_RIGHT, NOSE_TIP, MOUTH_LEFT, MOUTH_RIGHT = range(5)


@cache
def drawn(seed: int, size: int = 128) -> DrawnFace:
    return draw_face(np.random.default_rng(seed), size)


def digest(face: DrawnFace) -> str:
    return hashlib.sha256(face.image.tobytes() + face.label.tobytes() + face.points.tobytes()).hexdigest()


def pixels(label: npt.NDArray[np.uint8], *ids: int) -> npt.NDArray[np.float64]:
    """The (x, y) of the pixels of some classes, N x 2."""
    return np.argwhere(np.isin(label, ids))[:, ::-1].astype(np.float64)


def eye_axis(face: DrawnFace) -> npt.NDArray[np.float64]:
    """The unit vector from the left eye to the right one."""
    across = face.points[EYE_RIGHT] - face.points[EYE_LEFT]
    return np.asarray(across / np.linalg.norm(across))


def luminance(face: DrawnFace, class_id: int) -> float:
    return float(face.image[face.label == class_id].mean())


@pytest.mark.parametrize("size", [48, 128, 512])
def test_arrays_have_the_promised_form(size: int) -> None:
    face = drawn(3, size)
    assert face.image.shape == (size, size, 3)
    assert face.label.shape == (size, size)
    assert face.points.shape == (5, 2)
    assert [array.dtype.name for array in (face.image, face.label, face.points)] == ["uint8", "uint8", "float64"]
    assert face.image.flags.c_contiguous
    assert set(np.unique(face.label)) <= set(range(len(CLASSES)))


def test_equal_seeds_draw_equal_faces() -> None:
    for seed in range(5):
        assert digest(draw_face(np.random.default_rng(seed), 96)) == digest(draw_face(np.random.default_rng(seed), 96))


def test_different_seeds_draw_different_faces() -> None:
    assert len({digest(drawn(seed)) for seed in SEEDS}) == len(SEEDS)


def test_one_generator_draws_one_face_after_another() -> None:
    rng = np.random.default_rng(0)
    assert digest(draw_face(rng, 64)) != digest(draw_face(rng, 64))


def test_another_process_draws_the_same_face() -> None:
    program = (
        "import hashlib, numpy as np; from faceparse.core.drawing.drawn_face import draw_face;"
        "f = draw_face(np.random.default_rng(11), 128);"
        "print(hashlib.sha256(f.image.tobytes() + f.label.tobytes() + f.points.tobytes()).hexdigest())"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == digest(drawn(11))


def test_every_class_is_present() -> None:
    counts = np.array([np.bincount(drawn(seed).label.ravel(), minlength=len(CLASSES)) for seed in SEEDS])
    always = np.delete(counts, faces.INNER_MOUTH, axis=1)
    assert always.min() >= 8
    assert 0.5 <= np.mean(counts[:, faces.INNER_MOUTH] > 0) < 0.9


def test_left_is_the_viewers_left() -> None:
    pairs = ((faces.LEFT_BROW, faces.RIGHT_BROW), (faces.LEFT_EYE, faces.RIGHT_EYE))
    for seed in SEEDS:
        face = drawn(seed)
        assert face.points[EYE_LEFT, 0] < face.points[EYE_RIGHT, 0]
        for pair in pairs:
            left, right = (pixels(face.label, class_id) @ eye_axis(face) for class_id in pair)
            assert left.max() < right.min(), seed


def test_eye_points_are_the_centroids_of_the_eyes() -> None:
    for seed in SEEDS:
        face = drawn(seed, 256)
        for point, class_id in ((EYE_LEFT, faces.LEFT_EYE), (EYE_RIGHT, faces.RIGHT_EYE)):
            centroid = pixels(face.label, class_id).mean(axis=0)
            assert np.linalg.norm(face.points[point] - centroid) < 1.0, seed


def test_mouth_points_are_the_corners_of_the_lips() -> None:
    for seed in SEEDS:
        face = drawn(seed, 256)
        lips = pixels(face.label, *LIPS)
        along = lips @ eye_axis(face)
        for point, extreme in ((MOUTH_LEFT, along.argmin()), (MOUTH_RIGHT, along.argmax())):
            assert np.linalg.norm(face.points[point] - lips[extreme]) < 3.0, seed


def test_nose_point_is_on_the_nose() -> None:
    for seed in SEEDS:
        face = drawn(seed)
        x, y = np.rint(face.points[NOSE_TIP]).astype(int)
        assert face.label[y, x] == faces.NOSE, seed


def test_lips_and_mouth_leave_no_gap() -> None:
    for seed in SEEDS:
        label = drawn(seed, 256).label
        middle = drawn(seed, 256).points[[MOUTH_LEFT, MOUTH_RIGHT]].mean(axis=0)
        x = int(np.rint(middle[0]))
        inside = np.flatnonzero(np.isin(label[:, x], LIPS))
        assert len(inside) == inside[-1] - inside[0] + 1, seed


def test_size_changes_only_the_resolution() -> None:
    for seed in range(12):
        small, large = drawn(seed, 128), drawn(seed, 256)
        assert np.mean(large.label[::2, ::2] == small.label) > 0.97, seed
        np.testing.assert_allclose(large.points, 2 * small.points + 0.5, atol=1e-9)
        halved = large.image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
        assert np.abs(halved - small.image).mean() < 8, seed


def test_colours_vary_and_overlap_between_classes() -> None:
    shown = {
        class_id: np.array([luminance(drawn(seed), class_id) for seed in SEEDS])
        for class_id in (faces.BACKGROUND, faces.SKIN, faces.HAIR)
    }
    assert all(np.ptp(values) > 90 for values in shown.values())
    for class_id in (faces.BACKGROUND, faces.HAIR):
        low, high = np.percentile(shown[class_id], [10, 90])
        assert np.mean((shown[faces.SKIN] > low) & (shown[faces.SKIN] < high)) > 0.4


def test_poses_vary() -> None:
    points = np.array([drawn(seed).points for seed in SEEDS])
    across = points[:, EYE_RIGHT] - points[:, EYE_LEFT]
    assert np.std(np.degrees(np.arctan2(across[:, 1], across[:, 0]))) > 5
    assert np.ptp(np.linalg.norm(across, axis=1)) > 10
    assert np.all(np.std(points[:, NOSE_TIP], axis=0) > 3)
