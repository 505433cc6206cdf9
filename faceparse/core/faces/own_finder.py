"""Faces that a parser finds itself."""

import threading
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from faceparse.core.faces.face import Face, Finder
from faceparse.core.faces.film_tracker import FaceTracker
from faceparse.core.faces.finder import FaceFinder, FinderOptions, FoundFace
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.windows import PictureSizes, by_windows
from faceparse.core.images.warp import apply, invert
from faceparse.core.labels.classes import Classes

MIN_FACE = 0.08
"""Height of the smallest searched face, hairline to chin, as a share of the picture's height."""

BOX = ((0.2, 0.26), (0.8, 0.86))
"""Box of a face in an aligned crop, hairline to chin: two corners in shares of the crop's side."""


class PartParser(Protocol):
    """A network that searches pictures for parts: PyTorch's or ONNX Runtime's."""

    @property
    def picture_sizes(self) -> PictureSizes:
        """Sizes of pictures that `part_maps` takes."""

    def part_maps(self, pictures: np.ndarray, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """Probabilities of P sets of classes: N x P x h x w float32, at 1/4 of the pictures' size or finer.

        Args:
            pictures: N x H x W x 3 uint8 RGB.
            parts: P sets of class ids.
        """


def finds_faces(geometry: FaceGeometry | None, label_set: Classes) -> bool:
    """Whether a model can find faces: its training pictures are aligned, and its classes tell the parts apart."""
    return bool(geometry is not None and geometry.consistent and label_set.part_ids())


def own_finder(
    parser: PartParser,
    geometry: FaceGeometry | None,
    label_set: Classes,
    min_face: float = MIN_FACE,
    *,
    film: bool = False,
) -> Finder | None:
    """The parser as a finder; None where it cannot find faces, so that pictures are parsed as a whole.

    Args:
        film: whether it gets the frames of one film, in order.
    """
    if geometry is None or not finds_faces(geometry, label_set):
        return None
    return OwnFaces(parser, geometry, label_set, min_face=min_face, film=film)


class OwnFaces:
    """A finder that needs no second network."""

    def __init__(
        self,
        parser: PartParser,
        geometry: FaceGeometry,
        label_set: Classes,
        *,
        min_face: float = MIN_FACE,
        film: bool = False,
    ) -> None:
        """Prepare the search. `finds_faces` must be true for geometry and label set.

        `film` follows faces from one picture to the next.
        """
        options = finder_options(parser.picture_sizes, min_face)
        glasses = label_set.glasses_ids()
        maps = partial(parser.part_maps, parts=(*label_set.part_ids(), *([glasses] if glasses else [])))
        finder = FaceFinder(by_windows(maps, parser.picture_sizes, options.side), geometry, options)
        self._find = FaceTracker(finder) if film else finder
        self._turn = threading.Lock()  # many threads read pictures; the network already uses all cores

    def __call__(self, where: str, image: np.ndarray) -> list[Face]:
        """Find the faces of an H x W x 3 uint8 RGB picture."""
        with self._turn:
            found = self._find(image)
        return [_face(face) for face in found]


def _face(face: FoundFace) -> Face:
    (left, top), (right, bottom) = BOX
    corners = apply(invert(face.matrix), np.array([[left, top], [right, top], [left, bottom], [right, bottom]]))
    x, y = corners.min(axis=0)
    width, height = corners.max(axis=0) - (x, y)
    return Face((float(x), float(y), float(width), float(height)), face.score, face.points, face.matrix)


def finder_options(sizes: PictureSizes, min_face: float) -> FinderOptions:
    """Options for a network's picture sizes.

    A network of one size sees whole faces in its windows, and looks again at crops of its own size.
    """
    if sizes.least != sizes.most:
        return FinderOptions(min_face=min_face)
    side = min(sizes.most)
    return FinderOptions(min_face=min_face, side=min(FinderOptions.side, side // 2), crop=side, closer=side)
