"""Find everything that is wrong with one sample's files."""

import hashlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from faceparse.core.checking.moments import Moments, label_moments
from faceparse.core.checking.near_copies import thumbnail
from faceparse.core.datasets.edges import label_edges
from faceparse.core.datasets.layout import Sample
from faceparse.core.datasets.orientation import is_drawn_as_stored
from faceparse.core.errors import FaceparseError
from faceparse.core.files.packed import Stored
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.matrices import read_matrix
from faceparse.core.images.opening import DAMAGED, open_picture, read_orientation
from faceparse.core.images.read_label import is_palette_png, read_label
from faceparse.core.images.read_photograph import Picture, decode_picture
from faceparse.core.labels.classes import IGNORE


class SampleLook(NamedTuple):
    """Findings in one sample's files. They take little memory whatever the files' size, since a set has many."""

    problems: list[str]
    image_hash: str | None
    edge_differs: bool
    size: tuple[int, int] | None
    """Height and width of the image."""
    thumbnail: np.ndarray | None
    moments: Moments | None
    ignored: int
    """Number of the label's pixels with the value 255."""
    notice: str
    """Note on the image's file; empty if there is none."""
    turned: bool
    """Whether the EXIF orientation turns the image upright."""
    stored: bool
    """Whether the label fits the stored image, before that turn, better."""


def look_at(sample: Sample, *, classes: int) -> SampleLook:
    """Read one sample's files, whatever their state, and return the findings.

    Args:
        classes: number of classes in the label set.
    """
    problems: list[str] = []
    picture = _picture(sample.image, problems)
    image = picture.image if picture is not None else None
    label = _label(sample.label, classes, problems)
    size = (image.shape[0], image.shape[1]) if image is not None else None
    if size is not None and label is not None and label.shape != size:
        problems.append(f"{sample.label}: {_size(label.shape)}, its image is {_size(size)}")
    edge_differs = label is not None and sample.edge.is_file() and _edge_differs(sample, label, problems)
    if sample.project.is_file():
        _label(sample.label_raw, classes, problems)
        try:
            read_matrix(sample.project)
        except FaceparseError as error:
            problems.append(str(error))
    data = read_bytes(sample.image) if image is not None else b""
    orientation = read_orientation(data) if image is not None else 1
    stored = False
    if image is not None and label is not None and label.shape == size:
        stored = is_drawn_as_stored(image, label, orientation)
    return SampleLook(
        problems,
        hashlib.sha256(data).hexdigest() if image is not None else None,
        edge_differs,
        size,
        thumbnail(image) if image is not None else None,
        label_moments(label, classes) if label is not None else None,
        int(np.count_nonzero(label == IGNORE)) if label is not None else 0,
        picture.notice if picture is not None else "",
        orientation != 1,
        stored,
    )


def _picture(path: Stored, problems: list[str]) -> Picture | None:
    try:
        data = read_bytes(path)
    except FaceparseError as error:
        problems.append(str(error))
        return None
    try:
        # Pillow is strict where OpenCV fills the missing part of a truncated JPEG with grey.
        with open_picture(io.BytesIO(data), str(path)) as picture:
            picture.load()
    except DAMAGED as error:
        problems.append(f"{path}: broken image ({error}); replace the file")
        return None
    try:
        return decode_picture(data, str(path))
    except FaceparseError as error:
        problems.append(str(error))
        return None


def _label(path: Stored, classes: int, problems: list[str]) -> np.ndarray | None:
    try:
        label = read_label(path)
    except FaceparseError as error:
        problems.append(str(error))
        return None
    if is_palette_png(path):
        problems.append(
            f"{path}: palette PNG; faceparse reads its indices, other loaders its colours: rewrite it single-channel"
        )
    counts = np.bincount(label.ravel(), minlength=256)
    for value in np.flatnonzero(counts).tolist():
        if classes <= value != IGNORE:
            allowed = f"one of the {classes} classes (0 to {classes - 1}, {IGNORE} ignored)"
            problems.append(f"{path}: value {value} on {counts[value]} pixels is not {allowed}")
    return label


def _edge_differs(sample: Sample, label: np.ndarray, problems: list[str]) -> bool:
    """Whether the edge map is of another label. The content decides, since a copied file has a new date."""
    try:
        edge = read_label(sample.edge)
    except FaceparseError as error:
        problems.append(str(error))
        return False
    return not np.array_equal(edge, label_edges(label))


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
