"""Reads photographs and parses them. Threads read and crop, the caller's thread runs the network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from faceparse.core.errors import FaceparseError
from faceparse.core.faces.crops import Crop, crop_picture
from faceparse.core.faces.face import Face, Finder
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.images.crop import Fit
from faceparse.core.images.read_photograph import Picture, decode_picture
from faceparse.core.images.warp import Size
from faceparse.core.machine.parallel import default_processes, map_threads
from faceparse.core.parser.inference import Parser, PendingArray, copy_to_host
from faceparse.core.prediction.batches import batch_logits
from faceparse.core.prediction.inputs import Source


@dataclass(frozen=True)
class Photograph:
    """A photograph, ready for the network."""

    source: Source
    picture: Picture
    faces: list[Face] | None
    """None where the picture is parsed as a whole."""
    crops: list[Crop]
    stamp: str
    """The source's stamp, taken before it was read."""
    data: bytes = b""
    """The encoded photograph."""


@dataclass(frozen=True)
class Broken:
    """A photograph that could not be read."""

    source: Source
    problem: str
    """One line that names it."""
    stamp: str
    crops: tuple[Crop, ...] = ()


def parsed_photographs(
    parser: Parser,
    sources: Sequence[Source],
    *,
    finder: Finder | None = None,
    geometry: FaceGeometry | None = None,
    batch_size: int = 4,
) -> Iterator[tuple[Photograph | Broken, list[PendingArray]]]:
    """Yield each photograph with the answers to its crops, in order. Two batches are read ahead."""
    read = partial(_read, finder=finder, size=parser.input_size, geometry=geometry, fit=parser.fit)
    photographs = map_threads(read, sources, file_threads(), ahead=2 * batch_size)
    for photograph, logits in batch_logits(parser, photographs, batch_size):
        yield photograph, [copy_to_host(one) for one in logits]


def file_threads() -> int:
    """Number of threads that read, and of those that write."""
    return min(default_processes(), 8)


def _read(
    source: Source, *, finder: Finder | None, size: Size, geometry: FaceGeometry | None, fit: Fit
) -> Photograph | Broken:
    stamp = source.stamp
    try:
        data = source.bytes()
        picture = decode_picture(data, source.where)
        faces = finder(source.where, picture.image) if finder else None
    except FaceparseError as error:  # one broken photograph must not stop the others
        return Broken(source, str(error), stamp)
    return Photograph(source, picture, faces, crop_picture(picture.image, faces, size, geometry, fit), stamp, data)
