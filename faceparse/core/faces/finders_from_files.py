"""Faces by a file that the user names: OpenCV's YuNet, or boxes in JSON."""

import threading
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, TypeAdapter, ValidationError

from faceparse.core.errors import CheckpointError, DatasetError, SettingsError
from faceparse.core.faces.face import MOST_FACES, Face, Finder
from faceparse.core.files.content import must_be_a_model
from faceparse.core.files.reading import read_bytes
from faceparse.core.text.paths import path_problem

DETECTION_SIDE = 640
"""Longest side in pixels of YuNet's input. There it finds faces of about 10 to 300 pixels, as it was trained."""

MIN_SCORE = 0.7
"""Least score of a face by YuNet (0 to 1)."""


def face_finder(path: Path) -> Finder:
    """Finder from a file: a detector (`.onnx`) or boxes (`.json`).

    Raises:
        SettingsError: another kind of file.
        DatasetError: the file is missing or does not hold what its name says.
    """
    if problem := path_problem(path):
        raise SettingsError(f"--faces: {problem}")
    if path.suffix.lower() == ".onnx":
        return YuNet(path)
    if path.suffix.lower() == ".json":
        return Boxes(path)
    raise SettingsError(f"--faces {path}: not auto, none, YuNet's .onnx file or a .json file of boxes")


HOME = "its file is face_detection_yunet_2023mar.onnx of github.com/opencv/opencv_zoo, 232589 bytes, in Git LFS"


class YuNet:
    """OpenCV's face detector, from its ONNX file (Wu, Peng, Yu, *YuNet: A Tiny Millisecond-level Face Detector*)."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Load the detector from its file, or from the file's `content` in another process.

        Raises:
            DatasetError: the file is missing, or is not that detector.
        """
        if content is None:
            content = read_bytes(path)
            try:
                must_be_a_model(path, str(path))
            except CheckpointError as error:
                raise DatasetError(f"{error}; {HOME}") from None
        self._path, self._content = path, content
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # errors are raised all the same
        self._lock = threading.Lock()  # a detector has one size at a time
        try:
            model, no_config = np.frombuffer(content, np.uint8), np.empty(0, np.uint8)
            self._detector = cv2.FaceDetectorYN.create("onnx", model, no_config, (32, 32), MIN_SCORE)
            self("", np.zeros((32, 32, 3), np.uint8))
        except cv2.error as error:
            raise DatasetError(f"{path}: not a YuNet face detector ({error.err}); {HOME}") from None

    def __reduce__(self) -> tuple[type, tuple[Path, bytes]]:  # processes on other machines may not see the file
        return type(self), (self._path, self._content)

    def __call__(self, where: str, image: np.ndarray) -> list[Face]:
        """Find the faces of an H x W x 3 uint8 RGB photograph."""
        height, width = image.shape[:2]
        shrink = min(1.0, DETECTION_SIDE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        picture = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
        with self._lock:
            self._detector.setInputSize(size)
            rows: np.ndarray | None = self._detector.detect(picture)[1]  # None where there is no face
        if rows is None:
            return []
        scale = np.array([width / size[0], height / size[1]])
        return [
            Face(tuple((row[:4].reshape(2, 2) * scale).flatten()), float(row[14]), row[4:14].reshape(5, 2) * scale)
            for row in rows[:MOST_FACES].astype(float)  # the surest come first
        ]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    box: tuple[float, float, PositiveFloat, PositiveFloat]
    score: float = 1.0
    points: Annotated[list[tuple[float, float]], Field(min_length=5, max_length=5)] | None = None

    def face(self) -> Face:
        return Face(self.box, self.score, None if self.points is None else np.array(self.points))


def _bare_box(value: object) -> object:
    return {"box": value} if isinstance(value, list) else value


_Faces = Annotated[list[Annotated[_Entry, BeforeValidator(_bare_box)]], Field(max_length=MOST_FACES)]
_FORMAT = TypeAdapter(dict[str, _Faces])


def _inside(face: Face, image: np.ndarray, where: str) -> Face:
    """Return the face. Raise DatasetError where all of it lies outside its photograph."""
    x, y, width, height = face.box
    if x >= image.shape[1] or y >= image.shape[0] or x + width <= 0 or y + height <= 0:
        box = ", ".join(f"{value:g}" for value in face.box)
        raise DatasetError(
            f"{where}: its box [{box}] lies outside the photograph of {image.shape[1]} x {image.shape[0]}; boxes are "
            "[x, y, width, height] in pixels of the upright photograph"
        )
    return face


class Boxes:
    """Faces from a JSON file.

    The file maps photographs to lists of faces, in pixels of the upright photograph. A face is `[x, y, width, height]`
    or `{"box": [x, y, width, height], "points": [[x, y], ...], "score": 0.98}`. The key of a photograph is its path as
    given to predict, or its file name. A photograph without faces has an empty list.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            entries = _FORMAT.validate_json(read_bytes(path))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise DatasetError(
                f'{path}: {place + ": " if place else ""}{first["msg"]}; write {{"photo.jpg": [[x, y, width, height]]}}'
            ) from None
        self._faces = {name: [entry.face() for entry in faces] for name, faces in entries.items()}

    def __call__(self, where: str, image: np.ndarray) -> list[Face]:
        """Return the faces that the file lists for the photograph.

        Raises:
            DatasetError: the file does not list the photograph, or a box lies outside it.
        """
        for name in (where, Path(where).name):
            if name in self._faces:
                return [_inside(face, image, where) for face in self._faces[name]]
        raise DatasetError(f"{where}: not in {self._path}; add it there, with [] if it shows no face")
