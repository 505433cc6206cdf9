"""Read labels and masks strictly, without changing a value."""

import io
from pathlib import Path

import cv2
import numpy as np

from faceparse.core.errors import ColourLabelError, DatasetError, ResourceError
from faceparse.core.files.packed import Stored
from faceparse.core.files.reading import read_bytes, read_start
from faceparse.core.images.decoding import decode_with_opencv
from faceparse.core.images.integrity import PNG, must_be_whole
from faceparse.core.images.opening import DAMAGED, open_picture


def read_label(path: Stored) -> np.ndarray:
    """H x W uint8 class ids of a single-channel or palette PNG (a palette's indices, not its colours).

    Raises:
        DatasetError: missing, unreadable, a colour picture, several pictures, or in a format that changes values.
    """
    data = read_bytes(path)
    must_be_lossless(data, path)
    must_be_whole(data, str(path))
    must_be_one(data, path)
    if data.startswith(PNG) and data[24:26] == b"\x08\x00":  # 8-bit greyscale: OpenCV is fast and exact
        label = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
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
            return np.array(picture, np.uint8) // _steps(data)
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable label picture ({error}); replace the file") from None


def _steps(data: bytes) -> int:
    """Factor by which Pillow makes greys of the values of a PNG with 2 or 4 bits; 1 for all other pictures."""
    grey = data.startswith(PNG) and data[25:26] == b"\x00"
    return {2: 85, 4: 17}.get(data[24], 1) if grey else 1


def must_be_lossless(data: bytes, path: Stored) -> None:
    """Raise DatasetError if a label's file is a JPEG or a lossy WebP: they change the values along borders."""
    lossy_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP" and b"VP8 " in data[12:64]
    if data[:2] == b"\xff\xd8" or lossy_webp:
        kind = "WebP" if lossy_webp else "JPEG"
        raise DatasetError(f"{path}: a {kind} changes the values of a label; save it as PNG from where it was drawn")


def must_be_one(data: bytes, path: Stored) -> None:
    """Raise DatasetError if a label's file holds several pictures: no one can know which of them is meant."""
    if data.startswith(PNG) and b"acTL" not in data:  # the chunk that makes an animation of a PNG
        return
    try:
        with open_picture(io.BytesIO(data), str(path)) as picture:
            frames = getattr(picture, "n_frames", 1)
    except (*DAMAGED, ResourceError):  # read and refused elsewhere
        return
    if frames > 1:
        raise DatasetError(f"{path}: holds {frames} pictures, and a label is one; save the right one alone, as PNG")


def read_mask(path: Path) -> np.ndarray:
    """H x W bool: True where a picture of any kind is not black.

    Raises:
        DatasetError: missing, unreadable, or several pictures.
    """
    data = read_bytes(path)
    must_be_whole(data, str(path))
    must_be_one(data, path)
    mask = decode_with_opencv(data, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DatasetError(f"{path}: truncated or damaged mask; replace the file")
    return mask != 0


def is_palette_png(path: Stored) -> bool:
    """Whether a PNG holds indices into a palette."""
    return read_start(path, 26)[25:26] == b"\x03"


def _narrow(label: np.ndarray, path: Stored) -> np.ndarray:
    """16-bit ids as uint8."""
    if label.max(initial=0) > 255:
        raise DatasetError(f"{path}: 16-bit value {label.max()} is no class id; ids go to 255")
    return label.astype(np.uint8)
