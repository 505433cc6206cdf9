"""Make pictures with known faces: photographs of `val` on pictures without faces, at every size and angle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceparse.core.datasets.layout import Sample
from faceparse.core.faces.alignment import UnusablePointsError, label_points
from faceparse.core.faces.finder import FACE_SHARE
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import apply
from faceparse.core.labels.label_set import LabelSet

WIDTH, HEIGHT = 1024, 768
SIZES = (0.08, 0.6)
"""Heights of faces, from hairline to chin, as shares of the picture's height."""
ANGLE = 45.0
MOST = 6


@dataclass(frozen=True)
class Placed:
    """A face in a composite."""

    points: np.ndarray
    """5 x 2 (x, y) in the composite: the points of `label_points`."""
    share: float
    """Height of the face as a share of the picture's height."""
    angle: float
    """Degrees, 0 or more."""
    visible: np.ndarray
    """HEIGHT x WIDTH bool: where its photograph is visible."""
    whole: bool
    """Whether all five points lie in the picture and none is covered."""


@dataclass(frozen=True)
class Composite:
    """A picture with its label and its faces."""

    image: np.ndarray
    label: np.ndarray
    faces: list[Placed]


def composites(
    count: int,
    samples: Sequence[Sample],
    backgrounds: Path,
    label_set: LabelSet,
    *,
    seed: int = 0,
    least: int = 1,
    most_angle: float = ANGLE,
) -> Iterator[Composite]:
    """Make `count` pictures with `least` to six faces each, as far as there is room. Depends only on the seed."""
    random = np.random.default_rng(seed)
    behind = sorted(path for path in backgrounds.iterdir() if path.suffix == ".jpg")
    for _ in range(count):
        picture = read_image(behind[random.integers(len(behind))])
        image = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        faces: list[Placed] = []
        circles: list[tuple[float, float, float]] = []
        for _ in range(random.integers(least, MOST + 1)):
            sample = samples[int(random.integers(len(samples)))]
            share = float(np.exp(random.uniform(*np.log(SIZES))))
            angle = float(random.uniform(-most_angle, most_angle))
            side = share * HEIGHT / FACE_SHARE
            place = _free_place(random, side, circles)
            if place is None:
                continue
            circles.append((*place, side))
            _paste(image, label, faces, sample, label_set, (*place, side, angle, share))
        yield Composite(image, label, faces)


def _free_place(
    random: np.random.Generator, side: float, taken: Sequence[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """Centre for a face, far from all others; up to a third of the crop may lie outside. None if none is found."""
    for _ in range(50):
        x, y = random.uniform(side / 6, WIDTH - side / 6), random.uniform(side / 6, HEIGHT - side / 6)
        if all(np.hypot(x - a, y - b) > 0.65 * (side + other) for a, b, other in taken):
            return float(x), float(y)
    return None


def _paste(
    image: np.ndarray,
    label: np.ndarray,
    faces: list[Placed],
    sample: Sample,
    label_set: LabelSet,
    place: tuple[float, float, float, float, float],
) -> None:
    x, y, side, angle, share = place
    photograph, truth = read_image(sample.image), read_label(sample.label)
    try:
        points = label_points(truth, label_set)
    except UnusablePointsError:
        return
    zoom = side / max(truth.shape)
    if zoom < 0.7:  # average pixels as a camera does, do not skip any
        small = (max(1, round(truth.shape[1] * zoom)), max(1, round(truth.shape[0] * zoom)))
        points = (points + 0.5) * (np.array(small) / truth.shape[::-1]) - 0.5
        photograph = cv2.resize(photograph, small, interpolation=cv2.INTER_AREA)
        truth = cv2.resize(truth, small, interpolation=cv2.INTER_NEAREST_EXACT)
        zoom = side / max(truth.shape)
    c, s = zoom * np.cos(np.radians(angle)), zoom * np.sin(np.radians(angle))
    middle_x, middle_y = (truth.shape[1] - 1) / 2, (truth.shape[0] - 1) / 2
    matrix = np.array([[c, -s, x - c * middle_x + s * middle_y], [s, c, y - s * middle_x - c * middle_y]])
    there = cv2.warpAffine(np.ones(truth.shape, np.uint8), matrix, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST) != 0
    image[there] = cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)[there]
    label[there] = cv2.warpAffine(truth, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST)[there]
    for number, face in enumerate(faces):
        covered = _hits(there, face.points)
        faces[number] = Placed(face.points, face.share, face.angle, face.visible & ~there, face.whole and not covered)
    placed = apply(matrix, points)
    whole = bool(((placed >= 0) & (placed <= [WIDTH - 1, HEIGHT - 1])).all())
    faces.append(Placed(placed, share, abs(angle), there, whole))


def _hits(mask: np.ndarray, points: np.ndarray) -> bool:
    x, y = np.rint(points).astype(int).T
    inside = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    return bool(mask[y[inside], x[inside]].any())
