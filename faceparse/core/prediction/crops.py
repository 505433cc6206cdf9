"""What the network sees of a picture, and the way back: the whole picture, or a crop for each of its faces."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceparse.core.datasets.alignment import (
    Alignment,
    UnusablePointsError,
    alignment_matrix,
    read_template,
    similarity,
)
from faceparse.core.face_geometry import FaceGeometry, square_to_crop
from faceparse.core.geometry import Size, apply, chain, crop_matrix, enlarge_logits, invert, warp_image
from faceparse.core.prediction.faces import Face

BOX_SHARE = 2 / 3
"""Share of the crop's side that a detector's box takes up, as it does in a crop aligned by FaRL's template."""

SAME_VIEW = 0.06
"""Share of the crop's side by which the corners of a picture may lie apart in two views that show the same."""

_SIDE = 512
_ALIGNMENT = Alignment("landmarks", _SIDE, read_template("farl", _SIDE), "skip")


@dataclass(frozen=True)
class Crop:
    """One crop of a picture."""

    image: np.ndarray
    """h x w x 3 uint8 RGB, of the network's input size."""
    matrix: np.ndarray
    """2 x 3, picture -> crop."""
    box: tuple[float, float, float, float]
    """x, y, width, height of what it shows, in the picture."""


@dataclass(frozen=True)
class Parsed:
    """The labels of a whole picture."""

    label: np.ndarray
    """H x W uint8 ids."""
    owner: np.ndarray
    """H x W uint16: which crop a pixel's class is from, counted from 1; 0 where all see background."""


def crop_picture(
    image: np.ndarray, faces: Sequence[Face] | None, size: Size, geometry: FaceGeometry | None = None
) -> list[Crop]:
    """A crop of each face, or of the whole picture where `faces` is None.

    Args:
        geometry: where faces lie in the training crops; None is FaRL's template.
    """
    picture = (image.shape[0], image.shape[1])
    if faces is None:
        views = [(crop_matrix(picture, size), (0.0, 0.0, float(picture[1]), float(picture[0])))]
    else:
        views = [(face_matrix(face, picture, size, geometry), face.box) for face in faces]
    return [Crop(warp_image(image, matrix, size), matrix, box) for matrix, box in views]


def face_matrix(face: Face, picture: Size, size: Size, geometry: FaceGeometry | None = None) -> np.ndarray:
    """2 x 3, picture -> crop: the face as it lies in the training crops.

    As the finder aligned it; else by five usable points to the `geometry`, or without one to FaRL's template, as
    `prepare --align` does it; else the box's longer side takes up `BOX_SHARE` of a square around the box's centre.
    """
    if face.matrix is not None:
        whole = crop_matrix(picture, size)
        matrix = chain(face.matrix, square_to_crop(size))
        return whole if _alike(matrix, whole, picture, size) else matrix
    if geometry is not None and face.points is not None:
        try:
            return _to_geometry(face.points, geometry, picture, size)
        except UnusablePointsError:
            pass  # the box is still one
    return chain(_to_square(face, picture), crop_matrix((_SIDE, _SIDE), size))


def _alike(one: np.ndarray, other: np.ndarray, picture: Size, size: Size) -> bool:
    """Whether two views show nearly the same: a photograph that is a training crop already stays as it is."""
    height, width = picture
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)
    apart = np.abs(apply(one, corners) - apply(other, corners)).max()
    return bool(apart < SAME_VIEW * max(size))


def _to_geometry(points: np.ndarray, geometry: FaceGeometry, picture: Size, size: Size) -> np.ndarray:
    """By eyes and mouth corners: the nose of landmarks is its tip, that of labels the middle of its pixels."""
    target = geometry.points_in(size)
    alignment_matrix(points, _ALIGNMENT, picture)  # raises where they are no face's
    four = [0, 1, 3, 4]
    return similarity(points[four], target[four])


def _to_square(face: Face, picture: Size) -> np.ndarray:
    if face.points is not None:
        try:
            return alignment_matrix(face.points, _ALIGNMENT, picture)
        except UnusablePointsError:
            pass  # the box is still one
    x, y, width, height = face.box
    zoom = _SIDE * BOX_SHARE / max(width, height)
    centre = (_SIDE - 1) / 2
    middle_x, middle_y = x + (width - 1) / 2, y + (height - 1) / 2
    return np.array([[zoom, 0, centre - zoom * middle_x], [0, zoom, centre - zoom * middle_y]])


def paste(logits: Sequence[np.ndarray], crops: Sequence[Crop], size: Size) -> Parsed:
    """C x h x w logits (or probabilities) of crops -> the labels of the picture of `size`, from enlarged logits. Where
    faces overlap, the larger box wins, being nearer; background wins against nothing.
    """
    parsed = Parsed(np.zeros(size, np.uint8), np.zeros(size, np.uint16))
    by_area = sorted(range(len(crops)), key=lambda i: crops[i].box[2] * crops[i].box[3])
    for i in by_area:
        rows, columns = _region(crops[i], size)
        label, owner = parsed.label[rows, columns], parsed.owner[rows, columns]
        if label.size:
            matrix = chain(np.array([[1.0, 0, columns.start], [0, 1, rows.start]]), crops[i].matrix)
            found = enlarge_logits(logits[i], matrix, label.shape)
            np.copyto(label, found, where=found != 0)
            np.copyto(owner, i + 1, where=found != 0)
    return parsed


def _region(crop: Crop, size: Size) -> tuple[slice, slice]:
    """Rows and columns of the picture that the crop shows."""
    height, width = crop.image.shape[:2]
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    there = apply(invert(crop.matrix), corners)
    low = np.clip(np.floor(there.min(axis=0)).astype(int), 0, size[::-1])
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + 1, low, size[::-1])
    return slice(low[1], high[1]), slice(low[0], high[0])
