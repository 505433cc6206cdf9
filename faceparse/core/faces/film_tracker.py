"""Faces of a film: followed from frame to frame, with a new search now and then."""

import numpy as np

from faceparse.core.faces.finder import FaceFinder, FoundFace

SEARCH_EVERY = 12
"""Frames between two searches for new faces: half a second."""


class FaceTracker:
    """Frames of one film, in order -> their faces.

    Following a face costs a few small crops. A search costs several passes over the whole picture.
    """

    def __init__(self, finder: FaceFinder) -> None:
        self._finder = finder
        self._faces: list[FoundFace] = []
        self._age = 0
        """Frames since the last search."""

    def __call__(self, image: np.ndarray) -> list[FoundFace]:
        """Return the faces of the next frame, H x W x 3 uint8 RGB."""
        self._age += 1
        if self._faces and self._age < SEARCH_EVERY:
            followed = self._finder.follow(image, self._faces)
            if len(followed) == len(self._faces):
                self._faces = followed
                return followed
        # A frame without faces is searched no more often than one with them.
        if self._faces or self._age == 1 or self._age >= SEARCH_EVERY:
            self._faces, self._age = self._finder(image), 1
        return self._faces
