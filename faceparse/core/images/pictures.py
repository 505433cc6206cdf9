"""Reading photographs and labels strictly: the one place that opens pictures."""

import io
import struct
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from faceparse.core.errors import (
    ColourLabelError,
    DatasetError,
    ResourceError,
)
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.integrity import damage, is_heic, is_tiff, tiff_pixels

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".ppm", ".pgm", ".avif", ".heic"),
)
"""Of photographs that are looked for in folders, in any case of letters."""

MAX_PIXELS = 150_000_000
"""Of a photograph, which takes 450 MB then: more than cameras make, less than what fills a small machine's memory.
OpenCV's own limit is 2^30 pixels."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # Pillow's opinion of a lower limit

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
"""What Pillow may take a file's content for. It knows others, and some start programs: EPS calls Ghostscript."""

MEAN_COLOUR = (124, 116, 104)
"""RGB: what lies behind transparent pixels. It is ImageNet's mean, which most networks see as 0."""

DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error),
    Image.DecompressionBombError,
)
"""What PIL raises on damaged files, whose headers it believes."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph as it was read: upright, with 8 bits a channel."""

    image: np.ndarray
    """H x W x 3 uint8 RGB; what is transparent lies over `MEAN_COLOUR`."""
    rgba: np.ndarray | None = None
    """H x W x 4 uint8, as it is in the file; None where all is opaque."""
    frames: int = 1
    """Pictures in the file, such as those of an animation. This is the first."""
    kind: str = ""
    """One of `FORMATS`, or what Pillow makes of one."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def own(self) -> np.ndarray:
        """H x W x 3 or 4 uint8: the picture with its transparency, where it has any."""
        return self.image if self.rgba is None else self.rgba

    @cached_property
    def clear(self) -> np.ndarray | None:
        """H x W bool: where nothing of it can be seen; None where there is something everywhere."""
        clear = None if self.rgba is None else self.rgba[..., 3] == 0
        return clear if clear is not None and clear.any() else None

    @property
    def notice(self) -> str:
        """What whoever gave the file should know; empty where there is nothing."""
        return f"holds {self.frames} pictures; only the first is taken" if self.frames > 1 else ""


def read_image(path: Path) -> np.ndarray:
    """H x W x 3 uint8, RGB, turned upright by its EXIF orientation, over `MEAN_COLOUR` where it is transparent.

    Raises:
        DatasetError: missing, truncated, not an image, or more than `MAX_PIXELS`.
        ResourceError: nothing is installed that reads its format.
    """
    return decode_image(read_bytes(path), str(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """`read_image` of a file's content; `where` it came from is what errors name."""
    return decode_picture(data, where).image


def decode_picture(data: bytes, where: str) -> Picture:
    """The picture in a file's content: the one way in which photographs are read.

    Raises:
        DatasetError, ResourceError: as `read_image`. The size is looked at before memory is spent on it.
    """
    try:
        picture = open_picture(io.BytesIO(data), where)
    except DAMAGED as error:
        check_pixels(data, where)
        must_be_whole(data, where)
        found = _odd_tiff(data, where) if isinstance(error, UnidentifiedImageError) else None
    else:
        with picture:
            must_be_small_enough(picture.width * picture.height, where)
            must_be_whole(data, where)
            found = _read(picture, data, where)
    if found is None:
        raise DatasetError(f"{where}: not a readable image; replace the file")
    return found


def must_be_whole(data: bytes, where: str) -> None:
    """
    Raises:
        DatasetError: an encoded picture's own lengths and checksums say that it is damaged.
    """
    if found := damage(data):
        raise DatasetError(f"{where}: {found}; replace the file")


def _read(picture: Image.Image, data: bytes, where: str) -> Picture | None:
    """None where it is damaged."""
    try:
        if _is_plain(picture):
            image = _decode(data, cv2.IMREAD_COLOR_RGB)
            return None if image is None else Picture(image, kind=picture.format or "")
        if picture.format == "PNG" and _decode(data, cv2.IMREAD_UNCHANGED) is None:
            return None  # Pillow takes rows that are missing for black
        return from_pillow(picture, where)
    except DAMAGED:
        return None


def _is_plain(picture: Image.Image) -> bool:
    """Whether OpenCV, which is faster, reads it as Pillow would."""
    if picture.format in ("JPEG", "MPO"):
        return True
    opaque = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    return picture.format in ("PNG", "BMP") and opaque and _frames(picture) == 1


def _frames(picture: Image.Image) -> int:
    """Pictures in the file that are meant to be seen: a camera's MPO has one, and others to look up."""
    return 1 if picture.format in ("JPEG", "MPO") else getattr(picture, "n_frames", 1)


def from_pillow(picture: Image.Image, where: str) -> Picture:
    """A picture that Pillow opened.

    Raises:
        DatasetError: its values are no colours, or there are more than `MAX_PIXELS`.
        DAMAGED: it cannot be read.
    """
    must_be_small_enough(picture.width * picture.height, where)
    frames, kind = _frames(picture), picture.format or ""
    depth = _depth(picture)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        return Picture(_in_bytes(np.asarray(upright), where, depth), None, frames, kind)
    if not upright.has_transparency_data:
        return Picture(np.asarray(upright.convert("RGB")), None, frames, kind)
    rgba = np.asarray(upright.convert("RGBA"))
    if (rgba[..., 3] == 255).all():
        return Picture(np.ascontiguousarray(rgba[..., :3]), None, frames, kind)
    return Picture(_over_mean(rgba), rgba, frames, kind)


def _over_mean(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    mean = np.array(MEAN_COLOUR, np.uint16)
    return np.asarray((rgba[..., :3] * alpha + mean * (255 - alpha) + 127) // 255, np.uint8)


def _depth(picture: Image.Image) -> int:
    """Bits that a value of a picture with more than 8 has: TIFFs of 12 bits are widened, not scaled."""
    if picture.mode == "I" and np.asarray(picture).max(initial=0) < 256:  # bytes that were widened
        return 8
    bits = getattr(picture, "tag_v2", {}).get(258, (16,))
    return min(int(bits[0]), 16)


def _in_bytes(values: np.ndarray, where: str, depth: int = 16) -> np.ndarray:
    """H x W (x 3) integers of `depth` bits, or floats from 0 to 1 -> H x W x 3 uint8.

    Raises:
        DatasetError: there are others.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if values.dtype.kind == "f":
        most, scaled = 1.0, np.rint(255 * values) if 0 <= low <= high <= 1 else values
    else:
        most, scaled = 2.0**depth - 1, values >> (depth - 8)
    if not 0 <= low <= high <= most:
        raise DatasetError(
            f"{where}: values from {low:g} to {high:g} are no colours (0 to {most:g}); save it with 8 bits a channel"
        )
    image = scaled.astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _odd_tiff(data: bytes, where: str) -> Picture | None:
    """A TIFF of a depth that Pillow does not know in colour, such as 12 bits or floats: OpenCV gives 16 bits or floats.
    None where it is none.
    """
    if not is_tiff(data):
        return None
    must_be_small_enough(tiff_pixels(data), where)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    values = _decode(data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)  # asked for RGB, OpenCV 5.0 spoils 12 bits
    if values is None or values.dtype == np.uint8:  # of 8 bits Pillow knows all: this one is damaged
        return None
    return Picture(np.ascontiguousarray(_in_bytes(values, where)[..., ::-1]), kind="TIFF")


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


def open_picture(source: Path | BinaryIO, where: str = "") -> Image.Image:
    """A picture of one of `FORMATS`, or HEIC, by its content; its pixels are not read yet.

    Raises:
        DAMAGED: it is none.
        ResourceError: it is a HEIC, and nothing is installed that reads one.
    """
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


def has_known_kind(data: bytes) -> bool:
    """Whether a file's content looks like a picture of one of `FORMATS`, or like HEIC."""
    try:
        open_picture(io.BytesIO(data)).close()
    except ResourceError:
        return True
    except DAMAGED:
        return False
    return True


def _is_heic(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_heic(file.read(64))
    source.seek(0)
    head = source.read(64)
    source.seek(0)
    return is_heic(head)


def _pixels(data: bytes) -> float:
    """As the header says; 0 where Pillow knows nothing of it, and OpenCV has the last word."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return float("inf")
    except (*DAMAGED, ResourceError):
        return 0


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a damaged header that promises an impossible size
        return None


def read_orientation(data: bytes) -> int:
    """By which EXIF says a photograph is to be turned upright; 1 where it says nothing."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(0x0112, 1)
    except (*DAMAGED, ResourceError):
        return 1
    return orientation if orientation in range(2, 9) else 1


def read_label(path: Path) -> np.ndarray:
    """H x W uint8 class ids of a single-channel or palette PNG (a palette's indices, not its colours).

    Raises:
        DatasetError: missing, unreadable, a colour picture, or of a format that changes values.
    """
    data = read_bytes(path)
    must_be_lossless(data, path)
    must_be_whole(data, str(path))
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x08\x00":  # 8-bit greyscale: OpenCV is fast and exact
        label = _decode(data, cv2.IMREAD_UNCHANGED)
        if label is None:
            raise DatasetError(f"{path}: truncated or damaged PNG; replace the file")
        return label
    try:
        with open_picture(io.BytesIO(data), str(path)) as picture:
            picture.load()
            if picture.mode.startswith("I"):
                return _narrow(np.asarray(picture), path)
            if picture.mode not in ("L", "P", "1"):
                raise ColourLabelError(
                    f"{path}: a {picture.mode} picture, not single-channel class ids; "
                    "convert it with 'faceparse prepare folder'"
                )
            return np.array(picture, np.uint8)
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable label picture ({error}); replace the file") from None


def must_be_lossless(data: bytes, path: Path) -> None:
    """
    Raises:
        DatasetError: a label's file is a JPEG or a lossy WebP: values along borders are others than were saved.
    """
    lossy_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP" and b"VP8 " in data[12:64]
    if data[:2] == b"\xff\xd8" or lossy_webp:
        kind = "WebP" if lossy_webp else "JPEG"
        raise DatasetError(f"{path}: a {kind} changes the values of a label; save it as PNG from where it was drawn")


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


def read_mask(path: Path) -> np.ndarray:
    """H x W bool: where a picture of any kind is not black.

    Raises:
        DatasetError: missing or unreadable.
    """
    data = read_bytes(path)
    must_be_whole(data, str(path))
    mask = _decode(data, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DatasetError(f"{path}: truncated or damaged mask; replace the file")
    return mask != 0


def _narrow(label: np.ndarray, path: Path) -> np.ndarray:
    """16-bit ids as bytes."""
    if label.max(initial=0) > 255:
        raise DatasetError(f"{path}: 16-bit value {label.max()} is no class id; ids go to 255")
    return label.astype(np.uint8)


def is_palette_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(26)[25:26] == b"\x03"
