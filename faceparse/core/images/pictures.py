"""Reading photographs strictly: upright, with 8 bits a channel, whatever their files hold."""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.integrity import is_tiff, tiff_pixels
from faceparse.core.images.opening import (
    DAMAGED,
    check_pixels,
    decode_with_opencv,
    must_be_small_enough,
    must_be_whole,
    open_picture,
    silence_pillow,
)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".ppm", ".pgm", ".avif", ".heic"),
)
"""Those of photographs that are looked for in folders, in any case of letters."""

MEAN_COLOUR = (124, 116, 104)
"""RGB: what lies behind transparent pixels. It is ImageNet's mean, which most networks see as 0."""


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
        """A line for whoever gave the file; empty where there is nothing."""
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


def from_pillow(picture: Image.Image, where: str) -> Picture:
    """A picture that Pillow opened.

    Raises:
        DatasetError: its values are no colours, or there are more than `MAX_PIXELS`.
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
    """None where it is damaged."""
    try:
        if _is_plain(picture):
            image = decode_with_opencv(data, cv2.IMREAD_COLOR_RGB)
            return None if image is None else Picture(image, kind=picture.format or "")
        if picture.format == "PNG" and decode_with_opencv(data, cv2.IMREAD_UNCHANGED) is None:
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
    values = decode_with_opencv(
        data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH
    )  # asked for RGB, OpenCV 5.0 spoils 12 bits
    if values is None or values.dtype == np.uint8:  # of 8 bits Pillow knows all: this one is damaged
        return None
    return Picture(np.ascontiguousarray(_in_bytes(values, where)[..., ::-1]), kind="TIFF")
