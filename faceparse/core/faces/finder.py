"""Find faces with the parser itself: it sees eyes, nose and mouth, and knows how they lie in its training pictures.

The whole picture is parsed at a few scales, one pass each. Proposals from all scales are cropped, parsed, aligned by
the parts in the crop, and scored. No second network is needed, and nothing here needs PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faceparse.core.faces.candidates import merge, propose
from faceparse.core.faces.face import MOST_FACES
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.measure import fit, five_points, measure
from faceparse.core.faces.windows import PartMaps
from faceparse.core.images.crop import STEP
from faceparse.core.images.warp import Size


@dataclass(frozen=True)
class FinderOptions:
    """How thorough the search for faces is."""

    min_face: float = 0.08
    """Height of the smallest face, hairline to chin, as a share of the picture's height."""
    side: int = 112
    """Pixels of a crop's side in the search over the whole picture."""
    crop: int = 128
    """Pixels of a crop's side in the first two looks at a proposal."""
    closer: int = 192
    """Pixels of a crop's side in the last look at a proposal, which gives the points."""
    step: float = 1.6
    """Factor between two scales."""
    threshold: float = 0.45
    """Least score of a face.

    241 of 242 photographs of `val` score 0.46 or more; in 18 pictures without a face nothing scores 0.1."""
    candidates: int = 128
    """Most proposals that get another look."""
    most: int = MOST_FACES
    """Most faces of one picture; the best are kept. Each costs two crops, whose answers stay in memory until then."""


FIRST_LOOKS = (0.25, 0.4)
"""Least scores in the first two looks at a proposal."""

APART_ACROSS_SCALES = 0.12
"""As `APART`, for proposals from different scales, which get a closer look."""

SMALLEST_SIDE = 16.0
"""Least side of an aligned crop, in pixels of the picture. Smaller faces are not looked for."""

FACE_SHARE = 0.6
"""Height of a face, hairline to chin, as a share of an aligned crop's side."""


@dataclass(frozen=True)
class FoundFace:
    """A face in a picture."""

    matrix: np.ndarray
    """Similarity from picture to crop, in shares of the crop's side (0 to 1). 2 x 3."""
    score: float
    """Score, 0 to 1."""
    points: np.ndarray
    """Places of `POINTS` in the picture, 5 x 2 (x, y)."""


@dataclass(frozen=True)
class _View:
    """A proposal, and the parts in its crop."""

    proposal: tuple[complex, complex]
    maps: np.ndarray
    """Probabilities of the parts, 4 x h x w; 5 x h x w with glasses."""
    centres: np.ndarray
    evidence: np.ndarray
    """Evidence of the parts themselves, without glasses."""
    step: tuple[complex, complex]
    """Similarity to the face's place in the crop."""
    aligned: tuple[complex, complex]
    """The proposal that moves the face to where it should be."""
    score: float


class FaceFinder:
    """Finds the faces of pictures, best first.

    faces = FaceFinder(maps, geometry)(image)
    """

    def __init__(self, maps: PartMaps, geometry: FaceGeometry, options: FinderOptions | None = None) -> None:
        self._maps = maps
        self._geometry = geometry
        self._template = np.array(geometry.centres) @ (1, 1j)
        self._points = np.array(geometry.points) @ (1, 1j)
        self.options = options or FinderOptions()

    def __call__(self, image: np.ndarray) -> list[FoundFace]:
        """Return the faces of an H x W x 3 uint8 RGB picture."""
        proposals = self.proposals(image)
        return self.refine(image, proposals)

    def proposals(self, image: np.ndarray) -> np.ndarray:
        """Proposals in pixels of the picture, best first: M x 2 complex (a, b) as in `propose`."""
        found, support = [], []
        for side in self._sides((image.shape[0], image.shape[1])):
            zoom = self.options.side / side
            picture, scale = _resized(image, zoom)
            maps = self._maps(picture[None])[0]
            stride = picture.shape[1] / maps.shape[2]
            proposed, supported = propose(maps, self._geometry, self.options.side / stride)
            found.append(_rescaled(proposed, stride / scale))
            support.append(supported)
        proposals, weights = np.concatenate(found), np.concatenate(support)
        order = np.argsort(-weights, kind="stable")
        return proposals[order][merge(proposals[order], self._template, APART_ACROSS_SCALES)][: self.options.candidates]

    def follow(self, image: np.ndarray, faces: Sequence[FoundFace]) -> list[FoundFace]:
        """Find the faces of the previous frame in this one. Lost faces are left out."""
        return self.refine(image, np.array([_proposal(face) for face in faces], complex).reshape(-1, 2))

    def refine(self, image: np.ndarray, proposals: np.ndarray) -> list[FoundFace]:
        """Return the faces among M x 2 proposals. Each is aligned by the parts in its crop, three times."""
        pyramid = _halves(image)
        crop, closer = self.options.crop, self.options.closer
        for least, side in (*((least, crop) for least in FIRST_LOOKS), (self.options.threshold, closer)):
            if not len(proposals):
                return []
            views = [view for view in self._looked_at(pyramid, proposals, side) if view.score >= least]
            views.sort(key=lambda view: -view.score)
            aligned = np.array([view.aligned for view in views], complex).reshape(-1, 2)
            views = [views[position] for position in merge(aligned, self._template)]
            proposals = np.array([view.aligned for view in views], complex).reshape(-1, 2)
        return [self._face(view) for view in views[: self.options.most]]

    def _looked_at(self, pyramid: Sequence[np.ndarray], proposals: np.ndarray, side: int) -> list[_View]:
        """Views of the proposals: the parts in each one's crop of `side` pixels."""
        crops = np.stack([_crop(pyramid, proposal, side) for proposal in proposals])
        maps = np.concatenate([self._maps(part) for part in np.array_split(crops, -(-len(crops) // 16))])
        measured = zip(proposals, maps, *measure(maps, side, self._template, self._geometry.areas), strict=True)
        views = []
        for (a, b), map_, centres, evidence, own in measured:
            step, score = fit(self._template, centres, evidence)
            aligned = (a * step[0], a * step[1] + b)  # crop -> corrected place of the crop -> picture
            views.append(_View((a, b), map_, centres, own, step, aligned, score))
        return views

    def _face(self, view: _View) -> FoundFace:
        a, b = view.aligned
        back, shift = 1 / a, -b / a
        matrix = np.array([[back.real, -back.imag, shift.real], [back.imag, back.real, shift.imag]])
        expected = view.step[0] * self._points + view.step[1]
        points = five_points(view.maps, self.options.closer, view.centres, view.evidence, expected)
        points = view.proposal[0] * points + view.proposal[1]
        return FoundFace(matrix, view.score, np.stack([points.real, points.imag], axis=1))

    def _sides(self, size: Size) -> list[float]:
        """Sides of the wanted crops, in pixels of the picture."""
        options = self.options
        smallest = max(options.min_face * size[0] / FACE_SHARE, SMALLEST_SIDE) * options.step**0.5
        largest = max(size)
        count = max(1, int(np.ceil(np.log(largest / smallest) / np.log(options.step))) + 1)
        return [largest / options.step**k for k in range(count)]


def _proposal(face: FoundFace) -> tuple[complex, complex]:
    """The crop of a face, as in `propose`."""
    (c, _, x), (s, _, y) = face.matrix
    a = 1 / (c + 1j * s)
    return a, -(x + 1j * y) * a


def _resized(image: np.ndarray, zoom: float) -> tuple[np.ndarray, float]:
    """The picture at `zoom`, and the exact zoom. Black is added below and at the right, up to multiples of `STEP`."""
    height, width = image.shape[:2]
    h, w = max(1, round(height * zoom)), max(1, round(width * zoom))
    small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(small, 0, -h % STEP, 0, -w % STEP, cv2.BORDER_CONSTANT, value=(0, 0, 0)), w / width


def _rescaled(proposals: np.ndarray, factor: float) -> np.ndarray:
    """Proposals for a picture `factor` times as large. The corners of the pictures coincide, not their first pixels."""
    half = 0.5 + 0.5j
    return np.stack([proposals[:, 0] * factor, (proposals[:, 1] + half) * factor - half], axis=1)


def _halves(image: np.ndarray) -> list[np.ndarray]:
    """The picture, its half, its quarter and so on, as far as a face could need them."""
    pyramid = [image]
    while min(pyramid[-1].shape[:2]) >= 128:
        height, width = pyramid[-1].shape[:2]
        pyramid.append(cv2.resize(pyramid[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA))
    return pyramid


def _crop(pyramid: Sequence[np.ndarray], proposal: np.ndarray, side: int) -> np.ndarray:
    """Crop of a proposal, side x side x 3, from the level whose pixels are nearest in size to the crop's."""
    level = min(len(pyramid) - 1, max(0, round(np.log2(abs(proposal[0]) / side))))
    ((a, b),) = _rescaled(proposal[None], pyramid[level].shape[1] / pyramid[0].shape[1])
    a = a / (side - 1)
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return cv2.warpAffine(pyramid[level], matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
