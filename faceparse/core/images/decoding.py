"""Read photographs with OpenCV alone."""

import cv2
import numpy as np

from faceparse.core.errors import DatasetError
from faceparse.core.images.integrity import must_be_whole

MAX_PIXELS = 150_000_000
"""Largest number of pixels of a photograph; it takes 450 MB of memory.

Cameras make smaller ones, and a small machine has more memory. OpenCV's own limit is 2^30 pixels.
"""

_PLAIN = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP"}
"""First bytes of the formats of which OpenCV reads the same pixels as Pillow."""


def decode_with_opencv(data: bytes, flags: int) -> np.ndarray | None:
    """Pixels as OpenCV reads them with these flags; None where it cannot read them."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a damaged header that promises an impossible size
        return None


def decode_plain(data: bytes, where: str) -> np.ndarray:
    """H x W x 3 uint8 RGB, upright: of a JPEG, or an opaque PNG or BMP with 8 bits a channel.

    The pixels are those of `decode_image`.

    Raises:
        DatasetError: it is another picture, a damaged one, or has more than `MAX_PIXELS`.
    """
    kind = next((name for start, name in _PLAIN.items() if data.startswith(start)), None)
    if kind is None:
        raise DatasetError(f"{where}: not a {', '.join(_PLAIN.values())}; save it as one of them")
    must_be_whole(data, where)
    if kind != "JPEG":
        as_it_is = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
        if b"tRNS" in data[: data.find(b"IDAT")] or (as_it_is is not None and _is_deep_or_clear(as_it_is)):
            raise DatasetError(f"{where}: transparent, or more than 8 bits a channel; save it as a JPEG")
    image = decode_with_opencv(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DatasetError(f"{where}: not a readable image; replace the file")
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DatasetError(f"{where}: more than {MAX_PIXELS // 10**6} megapixels; make it smaller")
    return image


def _is_deep_or_clear(picture: np.ndarray) -> bool:
    clear = picture.ndim == 3 and picture.shape[2] == 4 and bool((picture[..., 3] < 255).any())
    return picture.dtype != np.uint8 or clear
