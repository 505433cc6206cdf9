"""Finders by the option `--faces`, and the sizes of faces that they look for."""

from pathlib import Path
from typing import Literal

from faceparse.core.errors import SettingsError
from faceparse.core.faces.face import Finder
from faceparse.core.faces.finders_from_files import face_finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.faces.own_finder import PartParser, own_finder
from faceparse.core.labels.classes import Classes

AUTO, NONE = "auto", "none"


def choose_finder(faces: str) -> Finder | Literal["auto"] | None:
    """Read `--faces`: "auto" for `auto`, None for `none`, else the finder from a file.

    Raises:
        SettingsError: it is none of them.
        DatasetError: the file is missing, or does not hold a finder.
    """
    if faces == AUTO:
        return "auto"
    return None if faces == NONE else face_finder(Path(faces))


def chosen_finder(
    choice: Finder | Literal["auto"] | None,
    parser: PartParser,
    geometry: FaceGeometry | None,
    label_set: Classes,
    min_face: float,
    *,
    film: bool = False,
) -> Finder | None:
    """The finder that `choose_finder` has returned; for "auto" the parser itself: see `own_finder`."""
    return own_finder(parser, geometry, label_set, min_face, film=film) if choice == "auto" else choice


def check_min_face(min_face: float) -> float:
    """Return the number.

    Raises:
        SettingsError: it is no share that a face can have.
    """
    if not isinstance(min_face, int | float) or not 0.01 <= min_face <= 1:
        shown = f"{min_face:g}" if isinstance(min_face, int | float) else repr(min_face)
        raise SettingsError(f"--min-face {shown}: a share of the picture's height, from 0.01 to 1")
    return min_face
