"""Photographs are read strictly: upright, in RGB, whole or not at all."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import MEAN_COLOUR, decode_image, decode_picture, from_pillow, read_image
from tests.core.images.made import COLOURS, LABEL, RANDOM, SMOOTH, encoded, palette_png, placed, refusal


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_images_are_read_as_rgb(tmp_path: Path, kind: str) -> None:
    assert np.array_equal(read_image(placed(encoded(COLOURS, kind), tmp_path / "a")), COLOURS)


def test_jpegs_are_read_as_rgb(tmp_path: Path) -> None:
    image = read_image(placed(encoded(SMOOTH, "JPEG", quality=95), tmp_path / "a.jpg"))
    assert image.shape == SMOOTH.shape
    assert np.abs(image.astype(int) - SMOOTH).max() < 16


def test_grey_and_transparent_images_are_read_as_rgb(tmp_path: Path) -> None:
    grey = read_image(placed(encoded(LABEL, "PNG"), tmp_path / "grey.png"))
    assert np.array_equal(grey, np.repeat(LABEL[..., None], 3, axis=2))
    opaque = np.dstack([COLOURS, np.full_like(LABEL, 255)])
    assert np.array_equal(read_image(placed(encoded(opaque, "PNG"), tmp_path / "alpha.png")), COLOURS)


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image[::-1].transpose(1, 0, 2),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
"""By the EXIF standard: where the stored rows and columns belong."""


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_are_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    options = {"quality": 95} if kind == "JPEG" else {}
    data = encoded(SMOOTH, kind, exif=oriented(orientation), **options)
    expected = UPRIGHT[orientation](SMOOTH)
    image = read_image(placed(data, tmp_path / "a"))
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() < 16


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.999])
def test_truncated_images_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(COLOURS, "JPEG", progressive=True) if kind == "progressive" else encoded(COLOURS, kind)
    path = placed(data[: int(share * len(data))], tmp_path / "a")
    assert refusal(read_image, path).endswith("; replace the file")


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_jpegs_without_their_last_bytes_are_called_truncated(tmp_path: Path, missing: int) -> None:
    path = placed(encoded(COLOURS, "JPEG")[:-missing], tmp_path / "a.jpg")
    assert refusal(read_image, path) == f"{path}: truncated JPEG; replace the file"


def with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with a whole small JPEG, end marker and all, in a header of its own, as cameras write it."""
    thumbnail = b"Exif\0\0" + encoded(COLOURS[:16, :16].copy(), "JPEG")
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + jpeg[2:]


@pytest.mark.parametrize("progressive", [False, True])
def test_the_end_of_a_thumbnail_is_not_the_end_of_a_jpeg(tmp_path: Path, progressive: bool) -> None:
    data = with_thumbnail(encoded(COLOURS, "JPEG", progressive=progressive))
    assert read_image(placed(data, tmp_path / "whole.jpg")).shape == COLOURS.shape
    for missing in (1, 200, 600):
        path = placed(data[:-missing], tmp_path / "cut.jpg")
        assert refusal(read_image, path) == f"{path}: truncated JPEG; replace the file"


def test_a_film_behind_a_jpeg_does_not_make_it_truncated(tmp_path: Path) -> None:
    data = encoded(SMOOTH, "JPEG") + bytes(100_000)
    assert read_image(placed(data, tmp_path / "motion.jpg")).shape == SMOOTH.shape


def test_fill_bytes_between_the_headers_of_a_jpeg_are_allowed(tmp_path: Path) -> None:
    jpeg = encoded(SMOOTH, "JPEG")
    assert read_image(placed(jpeg[:2] + b"\xff\xff" + jpeg[2:], tmp_path / "a.jpg")).shape == SMOOTH.shape


def promising(width: int, height: int, colour: int) -> bytes:
    """A PNG whose header promises a size that its data has not."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(3)) if colour == 3 else b""
    data = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.parametrize("colour", [0, 2, 3])
def test_headers_that_promise_an_impossible_size_are_refused(tmp_path: Path, colour: int) -> None:
    path = placed(promising(2**20 - 1, 2**20 - 1, colour), tmp_path / "a.png")
    refusal(read_image, path)
    refusal(read_label, path)


def test_a_bitmap_that_promises_an_impossible_size_is_refused(tmp_path: Path) -> None:
    data = bytearray(encoded(COLOURS, "BMP"))
    data[18:22] = struct.pack("<i", 2**28)
    refusal(read_image, placed(bytes(data), tmp_path / "a.bmp"))


@pytest.mark.parametrize("read", [read_bytes, read_image, read_label])
def test_missing_files_are_named(tmp_path: Path, read: object) -> None:
    path = tmp_path / "gone.png"
    assert refusal(read, path) == f"cannot read {path}: No such file or directory"


@pytest.mark.parametrize("read", [read_bytes, read_image, read_label])
def test_folders_are_no_files(tmp_path: Path, read: object) -> None:
    assert refusal(read, tmp_path) == f"cannot read {tmp_path}: Is a directory"


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize("data", [b"", b"hello", bytes(2000), b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_pictures_are_refused(tmp_path: Path, read: object, data: bytes) -> None:
    endings = ("; replace the file", "a JPEG changes the values of a label; save it as PNG from where it was drawn")
    assert refusal(read, placed(data, tmp_path / "a.png")).endswith(endings)


DEEP = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56) * 29
"""16-bit grey over nearly all of the range."""


def tiff(values: np.ndarray, bits: int) -> bytes:
    """An uncompressed TIFF of one strip: integers of 12 bits (packed), or floats."""
    height, width, *colours = values.shape
    samples = 3 if colours else 1
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(np.uint32)
        packed = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
        strip = np.stack(packed, axis=1).astype(np.uint8).tobytes()
    else:
        strip = values.astype(np.float32).tobytes()
    many = 8 + 2 + 11 * 12 + 4  # where what is longer than four bytes stands
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 2 if colours else 1), (273, many + 12)]
    entries += [(277, samples), (278, height), (279, len(strip)), (284, 1), (339, 3 if bits == 32 else 1)]
    directory = b"".join(
        struct.pack("<HHII", tag, 3, samples, many + 6 * (tag == 339))
        if samples > 1 and tag in (258, 339)
        else struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in entries
    )
    both = struct.pack("<6H", *[bits] * 3, *[3 if bits == 32 else 1] * 3)
    return b"II*\0" + struct.pack("<IH", 8, 11) + directory + bytes(4) + both + strip


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_of_grey_are_read_alike_by_all_doors(kind: str) -> None:
    data = encoded(DEEP, kind)
    expected = np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(decode_image(data, "a"), expected)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(from_pillow(picture, "a").image, expected)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_twelve_bits_and_floats_become_eight_bits(colours: tuple[int, ...]) -> None:
    values = RANDOM.integers(0, 4096, (20, 24, *colours))
    shown = (values >> 4).astype(np.uint8)
    for data in (tiff(values, 12), tiff(shown / 255, 32)):
        image = decode_image(data, "a.tif")
        assert np.array_equal(image, shown if colours else np.repeat(shown[..., None], 3, axis=2))


@pytest.mark.parametrize("colours", [(), (3,)])
def test_floats_that_are_no_colours_are_refused(colours: tuple[int, ...]) -> None:
    values = np.full((20, 24, *colours), 7.5)
    values[0, 0] = -1
    with pytest.raises(DatasetError) as caught:
        decode_image(tiff(values, 32), "a.tif")
    assert str(caught.value) == ("a.tif: values from -1 to 7.5 are no colours (0 to 1); save it with 8 bits a channel")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_lies_over_the_mean_colour_and_is_kept(kind: str) -> None:
    rgba = np.dstack([SMOOTH, np.full((40, 56), 255, np.uint8)])
    rgba[:10, :, 3], rgba[10:20, :, 3] = 0, 128
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    picture = decode_picture(encoded(rgba, kind, **options), "a")
    assert picture.rgba is not None
    assert picture.clear is not None
    assert np.array_equal(picture.rgba[..., 3], rgba[..., 3])
    assert np.array_equal(picture.clear, rgba[..., 3] == 0)
    assert (picture.image[:10] == MEAN_COLOUR).all()
    half = (picture.rgba[10:20, :, :3] * (128 / 255) + np.array(MEAN_COLOUR) * (127 / 255)).round()
    assert np.abs(picture.image[10:20] - half).max() <= 1
    assert np.array_equal(picture.image[20:], picture.rgba[20:, :, :3])


def test_a_palettes_transparent_colour_is_transparent() -> None:
    picture = decode_picture(palette_png(LABEL, transparency=3), "a.png")
    assert picture.clear is not None
    assert np.array_equal(picture.clear, LABEL == 3)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "AVIF"])
def test_of_several_pictures_the_first_is_taken_and_that_is_said(kind: str) -> None:
    others = [Image.fromarray(np.full_like(SMOOTH, grey)) for grey in (0, 255)]
    picture = decode_picture(encoded(SMOOTH, kind, save_all=True, append_images=others), "a")
    assert picture.notice == "holds 3 pictures; only the first is taken"
    assert np.abs(picture.image.astype(int) - SMOOTH).mean() < 8
    assert decode_picture(encoded(SMOOTH, kind), "a").notice == ""


@pytest.mark.parametrize("kind", ["GIF", "JPEG2000", "PPM", "AVIF"])
def test_further_formats_are_read(kind: str) -> None:
    image = decode_image(encoded(SMOOTH, kind), "a")
    assert np.abs(image.astype(int) - SMOOTH).mean() < 8
