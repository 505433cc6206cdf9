"""Read photographs strictly: upright, with 8 bits per channel, whatever their files hold."""

import io
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from faceparse.core.errors import DatasetError
from faceparse.core.files.packed import Stored
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.decoding import decode_with_opencv
from faceparse.core.images.integrity import is_tiff, must_be_whole, tiff_pixels
from faceparse.core.images.opening import (
    DAMAGED,
    check_pixels,
    must_be_small_enough,
    open_picture,
    silence_pillow,
)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".ppm", ".pgm", ".avif", ".heic"),
)
"""Suffixes of the photographs that are searched for in folders, in small letters or capitals."""

MEAN_COLOUR = (124, 116, 104)
"""RGB colour behind transparent pixels. It is ImageNet's mean, which most networks see as 0."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph as it was read: upright, with 8 bits per channel."""

    image: np.ndarray
    """H x W x 3 uint8 RGB; transparent pixels lie over `MEAN_COLOUR`."""
    rgba: np.ndarray | None = None
    """H x W x 4 uint8, as in the file; None where all pixels are opaque."""
    frames: int = 1
    """Number of pictures in the file, such as those of an animation. This is the first."""
    kind: str = ""
    """One of `FORMATS`, or Pillow's own name for such a file."""

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
        """H x W bool: True at fully transparent pixels; None where there are none."""
        clear = None if self.rgba is None else self.rgba[..., 3] == 0
        return clear if clear is not None and clear.any() else None

    @property
    def notice(self) -> str:
        """One line for the person who gave the file; empty where there is nothing to say."""
        return f"holds {self.frames} pictures; only the first is taken" if self.frames > 1 else ""


def read_image(path: Stored) -> np.ndarray:
    """H x W x 3 uint8, RGB, turned upright by its EXIF orientation, over `MEAN_COLOUR` where it is transparent.

    Raises:
        DatasetError: missing, truncated, not an image, or more than `MAX_PIXELS`.
        ResourceError: no package that reads its format is installed.
    """
    return decode_image(read_bytes(path), str(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Read an image, as `read_image` does, from a file's content; errors name `where` it came from."""
    return decode_picture(data, where).image


def decode_picture(data: bytes, where: str) -> Picture:
    """Read the picture in a file's content. Every photograph is read this way.

    The size is checked before memory is spent on the pixels.

    Raises:
        DatasetError, ResourceError: as `read_image`.
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


def from_pillow(picture: Image.Image, where: str) -> Picture:
    """Read a picture that Pillow opened.

    Raises:
        DatasetError: its values are no colours, or it has more than `MAX_PIXELS`.
        DAMAGED: it cannot be read.
    """
    silence_pillow()
    if not picture.width or not picture.height:
        raise DatasetError(f"{where}: has no pixels; give another picture")
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


def _read(picture: Image.Image, data: bytes, where: str) -> Picture | None:
    """Read an opened picture; None where it is damaged."""
    try:
        if _is_plain(picture):
            image = decode_with_opencv(data, cv2.IMREAD_COLOR_RGB)
            return None if image is None else Picture(image, kind=picture.format or "")
        if picture.format == "PNG" and decode_with_opencv(data, cv2.IMREAD_UNCHANGED) is None:
            return None  # Pillow fills missing rows with black
        return from_pillow(picture, where)
    except DAMAGED:
        return None


def _is_plain(picture: Image.Image) -> bool:
    """Whether OpenCV, which is faster, reads the same pixels as Pillow."""
    if picture.format in ("JPEG", "MPO"):
        return True
    opaque = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    return picture.format in ("PNG", "BMP") and opaque and _frames(picture) == 1


def _frames(picture: Image.Image) -> int:
    """Number of pictures in the file that are meant to be seen: a camera's MPO has one, and other auxiliary ones."""
    return 1 if picture.format in ("JPEG", "MPO") else getattr(picture, "n_frames", 1)


def _over_mean(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    mean = np.array(MEAN_COLOUR, np.uint16)
    return np.asarray((rgba[..., :3] * alpha + mean * (255 - alpha) + 127) // 255, np.uint8)


def _depth(picture: Image.Image) -> int:
    """Bits per value of a picture with more than 8 bits. TIFFs of 12 bits are widened, not scaled."""
    if picture.mode == "I" and np.asarray(picture).max(initial=0) < 256:  # 8-bit values that were widened
        return 8
    bits = getattr(picture, "tag_v2", {}).get(258, (16,))
    return min(int(bits[0]), 16)


def _in_bytes(values: np.ndarray, where: str, depth: int = 16) -> np.ndarray:
    """H x W (x 3) integers of `depth` bits, or floats from 0 to 1 -> H x W x 3 uint8.

    Raises:
        DatasetError: a value is outside that range.
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
    """Read a colour TIFF of a depth that Pillow does not know, such as 12 bits or floats; None for any other file.

    OpenCV gives its values as 16 bits or floats.
    """
    if not is_tiff(data):
        return None
    must_be_small_enough(tiff_pixels(data), where)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    values = decode_with_opencv(data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)  # with RGB, OpenCV 5.0 spoils 12 bits
    if values is None or values.dtype == np.uint8:  # Pillow knows all TIFFs of 8 bits: this one is damaged
        return None
    return Picture(np.ascontiguousarray(_in_bytes(values, where)[..., ::-1]), kind="TIFF")
