"""Opening pictures by their content: the one place that does, and that knows which are safe and small enough."""

import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.images.integrity import damage, is_heic

MAX_PIXELS = 150_000_000
"""The most that a photograph may have, which takes 450 MB then: more than cameras make, less than what fills a small
machine's memory. OpenCV's own limit is 2^30 pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
"""All that Pillow may take a file's content for. It knows others, and some start programs: EPS calls Ghostscript."""

DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error),
    Image.DecompressionBombError,
)
"""All that PIL raises on damaged files, whose headers it believes."""

_SILENT = ("ignore", None, Image.DecompressionBombWarning, None, 0)
"""The filter as `warnings` keeps it."""


def open_picture(source: Path | BinaryIO, where: str = "") -> Image.Image:
    """A picture of one of `FORMATS`, or HEIC, by its content; its pixels are not read yet.

    Raises:
        DAMAGED: it is none.
        ResourceError: it is a HEIC, and nothing is installed that reads one.
    """
    silence_pillow()
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        if not _is_heic(source):
            raise UnidentifiedImageError("not a picture of a known format, or an empty file") from None
    try:
        import pillow_heif
    except ImportError:
        raise ResourceError(
            f"{where or source}: a HEIC photograph; 'pip install pillow-heif' reads them, or save it as JPEG"
        ) from None
    pillow_heif.register_heif_opener()
    return Image.open(source, formats=("HEIF",))


def silence_pillow() -> None:
    """Keep Pillow's opinion of a limit lower than `MAX_PIXELS` from being shown, now and when pixels are read later.

    The filter stays: to take it back, as `warnings.catch_warnings` does, is for programs of one thread, and pictures
    are read in several at once.
    """
    if _SILENT not in warnings.filters:
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def has_known_kind(data: bytes) -> bool:
    """Whether a file's content looks like a picture of one of `FORMATS`, or like HEIC."""
    try:
        open_picture(io.BytesIO(data)).close()
    except ResourceError:
        return True
    except DAMAGED:
        return False
    return True


def must_be_whole(data: bytes, where: str) -> None:
    """
    Raises:
        DatasetError: an encoded picture's own lengths and checksums say that it is damaged.
    """
    if found := damage(data):
        raise DatasetError(f"{where}: {found}; replace the file")


def check_pixels(data: bytes, where: str) -> None:
    """Look at what an encoded picture's header promises, before memory is spent on it.

    Raises:
        DatasetError: more than `MAX_PIXELS`.
    """
    must_be_small_enough(_pixels(data), where)


def must_be_small_enough(pixels: float, where: str) -> None:
    """
    Raises:
        DatasetError: more than `MAX_PIXELS`.
    """
    if pixels > MAX_PIXELS:
        raise DatasetError(f"{where}: more than {MAX_PIXELS // 10**6} megapixels; make it smaller")


def read_size(path: Path) -> tuple[int, int]:
    """Height and width that a picture's header promises; neither pixels nor orientation are looked at.

    Raises:
        DatasetError: missing, or not a picture.
    """
    try:
        with open_picture(path) as picture:
            return picture.height, picture.width
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable picture ({error}); replace the file") from None


def read_orientation(data: bytes) -> int:
    """The orientation by which EXIF says a photograph is to be turned upright; 1 where it says nothing."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(0x0112, 1)
    except (*DAMAGED, ResourceError):
        return 1
    return orientation if orientation in range(2, 9) else 1


def decode_with_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """The pixels as OpenCV reads them with these flags; None where it cannot."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a damaged header that promises an impossible size
        return None


def _is_heic(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_heic(file.read(64))
    source.seek(0)
    head = source.read(64)
    source.seek(0)
    return is_heic(head)


def _pixels(data: bytes) -> float:
    """The number that the header says; 0 where Pillow knows nothing of it, and OpenCV has the last word."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return float("inf")
    except (*DAMAGED, ResourceError):
        return 0
