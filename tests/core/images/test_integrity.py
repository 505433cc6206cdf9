"""Damage that a format's own lengths and checksums tell."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from faceparse.core.errors import DatasetError
from faceparse.core.images.integrity import damage
from faceparse.core.images.read_photograph import decode_image

RANDOM = np.random.default_rng(5)
PICTURE = RANDOM.integers(0, 256, (24, 30, 3), dtype=np.uint8)

KINDS: dict[str, dict[str, object]] = {
    "PNG": {},
    "APNG": {"format": "PNG", "save_all": True},
    "TIFF": {},
    "TIFF deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "TIFF LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "BMP": {},
    "GIF": {},
    "WEBP": {},
    "WEBP lossless": {"format": "WEBP", "lossless": True},
    "WEBP animated": {"format": "WEBP", "save_all": True},
    "JPEG": {},
    "JPEG2000": {},
    "PPM": {},
    "AVIF": {},
}

CHECKED = ("PNG", "APNG", "TIFF deflate")
"""Those whose pixels have checksums."""


def written(name: str) -> bytes:
    options: dict[str, object] = {"format": name} | KINDS[name]
    if options.get("save_all"):
        options["append_images"] = [Image.fromarray(255 - PICTURE)]
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def is_refused(data: bytes) -> bool:
    """In one line."""
    try:
        decode_image(data, "a")
    except DatasetError as error:
        assert "\n" not in str(error)
        return True
    return False


@pytest.mark.parametrize("name", KINDS)
def test_whole_files_are_whole(name: str) -> None:
    assert damage(written(name)) == ""
    assert not is_refused(written(name))


@pytest.mark.parametrize("name", KINDS)
def test_cut_files_are_damaged(name: str) -> None:
    data = written(name)
    ends = [len(data) - 1, len(data) - 2, *RANDOM.integers(1, len(data), 30).tolist()]
    assert [end for end in ends if not is_refused(data[:end])] == []


@pytest.mark.parametrize("name", CHECKED)
def test_a_changed_byte_is_told_by_a_checksum(name: str) -> None:
    data = written(name)
    first, last = _pixels(name, data)
    for place in RANDOM.integers(first, last, 60).tolist():
        changed = bytearray(data)
        changed[place] ^= int(RANDOM.integers(1, 256))
        assert is_refused(bytes(changed)), place


def _pixels(name: str, data: bytes) -> tuple[int, int]:
    """Where the checksums reach: all of a PNG but its first bytes, and the strip of a TIFF."""
    if name != "TIFF deflate":
        return 8, len(data)
    with Image.open(io.BytesIO(data)) as picture:
        start, length = picture.tag_v2[273][0], picture.tag_v2[279][0]  # type: ignore[attr-defined]
    return start, start + length


@pytest.mark.parametrize("name", ["PNG", "APNG", "BMP", "WEBP", "WEBP animated", "TIFF deflate", "GIF"])
@pytest.mark.parametrize("change", [lambda d, p: d[:p] + bytes(7) + d[p:], lambda d, p: d[:p] + d[p + 5 :]])
def test_bytes_put_in_or_left_out_are_damage(name: str, change: Callable[[bytes, int], bytes]) -> None:
    data = written(name)
    first, last = _pixels(name, data) if name == "TIFF deflate" else (70, len(data) - 40)
    whole = [p for p in RANDOM.integers(first, last, 20).tolist() if not is_refused(change(data, p))]
    assert whole == []


def test_noise_is_no_traceback() -> None:
    """Every header may lie."""
    for name in KINDS:
        data = written(name)
        for _ in range(60):
            changed = bytearray(data)
            for place in RANDOM.integers(0, min(len(data), 200), 3):
                changed[place] = RANDOM.integers(0, 256)
            is_refused(bytes(changed))
