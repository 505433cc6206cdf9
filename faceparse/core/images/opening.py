"""Open pictures by their content. Only this module does so: it knows the safe formats and the largest size."""

import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.files.packed import Packed, Stored
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.decoding import MAX_PIXELS
from faceparse.core.images.integrity import is_heic

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
"""Formats that Pillow may recognise. It knows others, and some of those start programs: EPS calls Ghostscript."""

DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error),
    Image.DecompressionBombError,
)
"""Errors that Pillow raises on damaged files, since it trusts their headers."""

_SILENT = ("ignore", None, Image.DecompressionBombWarning, None, 0)
"""The filter in the form in which `warnings` keeps it."""


def open_picture(source: Path | BinaryIO, where: str = "") -> Image.Image:
    """Open a picture of one of `FORMATS`, or HEIC, by its content; its pixels are not read yet.

    Raises:
        DAMAGED: the file is no such picture.
        ResourceError: it is a HEIC, and no package that reads HEIC is installed.
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
    """Hide Pillow's warnings, now and when pixels are read later: of its own, lower limit of pixels, and of damage.

    Damage that matters is an error of ours; the rest, such as in EXIF, users cannot read out of Pillow's words.

    The filter stays. Only a program with one thread may remove it again, as `warnings.catch_warnings` does, and
    several threads read pictures at once.
    """
    if _SILENT not in warnings.filters:
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
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


def check_pixels(data: bytes, where: str) -> None:
    """Check the size in an encoded picture's header, before memory is spent on its pixels.

    Raises:
        DatasetError: it has more than `MAX_PIXELS`.
    """
    must_be_small_enough(_pixels(data), where)


def must_be_small_enough(pixels: float, where: str) -> None:
    """Raise DatasetError if `pixels` is more than `MAX_PIXELS`."""
    if pixels > MAX_PIXELS:
        raise DatasetError(f"{where}: more than {MAX_PIXELS // 10**6} megapixels; make it smaller")


def read_size(path: Stored) -> tuple[int, int]:
    """Height and width in a picture's header. Reads no pixels and ignores the orientation.

    Raises:
        DatasetError: missing, or not a picture.
    """
    try:
        with open_picture(io.BytesIO(read_bytes(path)) if isinstance(path, Packed) else path) as picture:
            return picture.height, picture.width
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable picture ({error}); replace the file") from None


def read_orientation(data: bytes) -> int:
    """EXIF orientation by which a photograph is turned upright; 1 where EXIF gives none."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(0x0112, 1)
    except (*DAMAGED, ResourceError):
        return 1
    return orientation if orientation in range(2, 9) else 1


def _is_heic(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_heic(file.read(64))
    source.seek(0)
    head = source.read(64)
    source.seek(0)
    return is_heic(head)


def _pixels(data: bytes) -> float:
    """Number of pixels in the header; 0 where Pillow cannot read it, and OpenCV decides later."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return float("inf")
    except (*DAMAGED, ResourceError):
        return 0
