"""Crops that the network sees of a picture (all of it, or each face), and the way back to the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faceparse.core.faces.alignment import (
    Alignment,
    UnusablePointsError,
    alignment_matrix,
    read_template,
    similarity,
)
from faceparse.core.faces.face import Face
from faceparse.core.faces.geometry import FaceGeometry, square_to_crop
from faceparse.core.images.crop import Fit, prepare_photo
from faceparse.core.images.warp import (
    Size,
    apply,
    chain,
    crop_matrix,
    enlarge_logits,
    invert,
    unwarp_label,
    warp_image,
)

BOX_SHARE = 2 / 3
"""Share of the crop's side that a detector's box takes up, as in a crop aligned by FaRL's template."""

WIDER = 1.8
"""How many times as much a face's second crop shows: hair, hats and shoulders beyond the aligned crop."""

SEAM = 0.12
"""Width of an aligned crop's border, as a share of its sides, in which its answer turns into that of the wider crop."""

SAME_VIEW = 0.06
"""Largest distance between the picture's corners in two views that count as the same, as a share of the crop's side."""

_SIDE = 512
_ALIGNMENT = Alignment("landmarks", _SIDE, read_template("farl", _SIDE), "skip")


@dataclass(frozen=True)
class Crop:
    """One crop of a picture."""

    image: np.ndarray
    """Picture of the crop, h x w x 3 uint8 RGB, of the network's input size."""
    matrix: np.ndarray
    """Matrix from picture to crop, 2 x 3; of a face, a similarity."""
    box: tuple[float, float, float, float]
    """Box of the face that it shows, in the picture: x, y, width, height."""
    face: int = 0
    """Number of the face that it shows, from 0."""
    wide: bool = False
    """Whether it shows the surroundings of an aligned crop, which is in the list as well."""


@dataclass(frozen=True)
class PictureLabels:
    """The labels of a whole picture."""

    label: np.ndarray
    """Class ids, H x W uint8."""
    owner: np.ndarray
    """Number of the face that a pixel belongs to, from 1; 0 for background. H x W uint16."""


def crop_picture(
    image: np.ndarray,
    faces: Sequence[Face] | None,
    size: Size,
    geometry: FaceGeometry | None = None,
    fit: Fit = "crop",
) -> list[Crop]:
    """Crop each face, or the whole picture where `faces` is None.

    Args:
        geometry: where faces lie in the training crops; None means FaRL's template.
        fit: how a whole picture fills the crop.
    """
    picture = (image.shape[0], image.shape[1])
    if faces is None:
        whole = prepare_photo(image, size, fit)
        return [Crop(whole.crop, whole.matrix, (0.0, 0.0, float(picture[1]), float(picture[0])))]
    crops = []
    for number, face in enumerate(faces):
        matrix = face_matrix(face, picture, size, geometry)
        views = (
            [(matrix, False)] if _covers(matrix, picture, size) else [(matrix, False), (_widened(matrix, size), True)]
        )
        crops += [Crop(warp_image(image, view, size), view, face.box, number, wide) for view, wide in views]
    return crops


def _covers(matrix: np.ndarray, picture: Size, size: Size) -> bool:
    """Whether a crop shows all of the picture."""
    corners = apply(matrix, _corners(picture))
    return bool((corners > -1).all() and (corners < np.array(size[::-1])).all())


def _widened(matrix: np.ndarray, size: Size) -> np.ndarray:
    """Matrix of the crop that shows `WIDER` times as much around the same middle."""
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    return chain(matrix, np.array([[1 / WIDER, 0, x - x / WIDER], [0, 1 / WIDER, y - y / WIDER]]))


def _corners(picture: Size) -> np.ndarray:
    """Centres of the corner pixels, 4 x 2 (x, y)."""
    right, bottom = picture[1] - 1.0, picture[0] - 1.0
    return np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]])


def face_matrix(face: Face, picture: Size, size: Size, geometry: FaceGeometry | None = None) -> np.ndarray:
    """Similarity from picture to crop, 2 x 3, after which the face lies as in the training crops.

    Sources, in this order:
    - the matrix of the finder, where it aligned the face;
    - five usable points, moved to the `geometry`, or without one to FaRL's template, as `prepare --align` does;
    - the box: its longer side takes up `BOX_SHARE` of a square around the box's centre.
    """
    if face.matrix is not None:
        whole = crop_matrix(picture, size)
        matrix = chain(face.matrix, square_to_crop(size))
        return whole if _alike(matrix, whole, picture, size) else matrix
    if geometry is not None and face.points is not None:
        try:
            return _to_geometry(face.points, geometry, picture, size)
        except UnusablePointsError:
            pass  # take the box
    return chain(_to_square(face, picture), crop_matrix((_SIDE, _SIDE), size))


def _alike(one: np.ndarray, other: np.ndarray, picture: Size, size: Size) -> bool:
    """Whether two views show nearly the same. So a photograph that is a training crop already stays as it is."""
    corners = _corners(picture)
    apart = np.abs(apply(one, corners) - apply(other, corners)).max()
    return bool(apart < SAME_VIEW * max(size))


def _to_geometry(points: np.ndarray, geometry: FaceGeometry, picture: Size, size: Size) -> np.ndarray:
    """Matrix by eyes and mouth corners.

    The nose is left out: landmarks have its tip, labels the middle of its pixels.
    """
    target = geometry.points_in(size)
    alignment_matrix(points, _ALIGNMENT, picture)  # raises an error where the points are no face
    four = [0, 1, 3, 4]
    return similarity(points[four], target[four])


def _to_square(face: Face, picture: Size) -> np.ndarray:
    if face.points is not None:
        try:
            return alignment_matrix(face.points, _ALIGNMENT, picture)
        except UnusablePointsError:
            pass  # take the box
    x, y, width, height = face.box
    zoom = _SIDE * BOX_SHARE / max(width, height)
    centre = (_SIDE - 1) / 2
    middle_x, middle_y = x + (width - 1) / 2, y + (height - 1) / 2
    return np.array([[zoom, 0, centre - zoom * middle_x], [0, zoom, centre - zoom * middle_y]])


def paste(
    answers: Sequence[np.ndarray], crops: Sequence[Crop], size: Size, *, clear: np.ndarray | None = None
) -> PictureLabels:
    """Labels of a picture of `size` from the network's answers to its crops (C x h x w, from `settle`).

    An aligned crop wins over wider crops at the same place. Among crops of one kind, the larger box wins, because its
    face is nearer. Background replaces no class, except classes from the wider crop of the same face.

    Args:
        clear: H x W bool, where the picture is transparent: these pixels are background, whatever the network answers.
    """
    parsed = PictureLabels(np.zeros(size, np.uint8), np.zeros(size, np.uint16))
    aligned = {crop.face: crop for crop in crops if not crop.wide}
    for i in paste_order(crops):
        crop = crops[i]
        rows, columns = crop_region(crop, size)
        label, owner = parsed.label[rows, columns], parsed.owner[rows, columns]
        if label.size:
            origin = np.array([[1.0, 0, columns.start], [0, 1, rows.start]])
            found = enlarge_logits(answers[i], chain(origin, crop.matrix), label.shape)
            if crop.wide:
                inner = aligned[crop.face]
                inside = np.ones(inner.image.shape[:2], np.uint8)
                found[unwarp_label(inside, chain(origin, inner.matrix), label.shape) != 0] = 0
            np.copyto(label, found, where=found != 0)
            np.copyto(owner, crop.face + 1, where=found != 0)
    if clear is not None:
        parsed.label[clear] = parsed.owner[clear] = 0
    return parsed


def paste_order(crops: Sequence[Crop]) -> list[int]:
    """Numbers of crops in the order in which they are pasted: wider crops first, then by the size of the box."""
    return sorted(range(len(crops)), key=lambda i: (not crops[i].wide, crops[i].box[2] * crops[i].box[3]))


def settle(answers: Sequence[np.ndarray], crops: Sequence[Crop]) -> list[np.ndarray]:
    """Blend the answers to aligned crops with those to wider crops, so that both agree along the border.

    Towards the border of an aligned crop, its answer turns into that of the wider crop, which sees what is beyond. A
    crop without a wider one stays as it is. Answers are logits or probabilities, C x h x w each.
    """
    wider = {crop.face: i for i, crop in enumerate(crops) if crop.wide}
    settled = list(answers)
    for i, crop in enumerate(crops):
        if not crop.wide and crop.face in wider:
            j = wider[crop.face]
            height, width = crop.image.shape[:2]
            to_wide = chain(invert(crop.matrix), crops[j].matrix)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            around = [cv2.warpAffine(plane, to_wide, (width, height), flags=flags) for plane in answers[j]]
            settled[i] = answers[i] + _border(height, width) * (np.stack(around) - answers[i])
    return settled


def _border(height: int, width: int) -> np.ndarray:
    """Weights of the wider crop, h x w float32: 1 at the border, falling to 0 over `SEAM` of the sides."""
    far = [np.minimum(np.arange(side), np.arange(side)[::-1]) / (SEAM * side) for side in (height, width)]
    return np.asarray(1 - np.minimum(np.minimum(far[0][:, None], far[1][None]), 1), np.float32)


def crop_region(crop: Crop, size: Size) -> tuple[slice, slice]:
    """Rows and columns of the picture that a crop shows."""
    height, width = crop.image.shape[:2]
    corners = np.array([[-0.5, -0.5], [width - 0.5, -0.5], [-0.5, height - 0.5], [width - 0.5, height - 0.5]])
    there = apply(invert(crop.matrix), corners)
    low = np.clip(np.floor(there.min(axis=0)).astype(int), 0, size[::-1])
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + 1, low, size[::-1])
    return slice(low[1], high[1]), slice(low[0], high[0])
