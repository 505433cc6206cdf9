"""Photographs and labels are read strictly."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from faceparse.core.errors import DatasetError, ResourceError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.encoding import encode_jpeg, encode_png, write_palette_png
from faceparse.core.images.pictures import (
    IMAGE_SUFFIXES,
    MEAN_COLOUR,
    decode_image,
    decode_picture,
    from_pillow,
    is_palette_png,
    read_image,
    read_label,
    read_mask,
    read_size,
)

RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (40, 56, 3), dtype=np.uint8)
LABEL = RANDOM.integers(0, 11, (40, 56), dtype=np.uint8)
PALETTE = RANDOM.integers(0, 256, (11, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 6, np.arange(56)[None] * 4, 90), axis=2).astype(np.uint8)
"""Survives JPEG nearly unchanged."""


def encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    """A picture as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def palette_png(label: np.ndarray, **options: object) -> bytes:
    picture = Image.fromarray(label, mode="P")
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def placed(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def refusal(read: object, path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(DatasetError) as caught:
        read(path)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


# Images.


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


# Labels.


def test_grey_labels_are_read_as_they_are(tmp_path: Path) -> None:
    label = read_label(placed(encoded(LABEL, "PNG"), tmp_path / "a.png"))
    assert label.dtype == np.uint8
    assert np.array_equal(label, LABEL)


def test_every_value_of_a_byte_survives(tmp_path: Path) -> None:
    label = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(read_label(placed(encode_png(label), tmp_path / "a.png")), label)


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"bits": 4}])
def test_palette_labels_are_read_by_index_not_by_colour(tmp_path: Path, options: dict[str, int]) -> None:
    label = read_label(placed(palette_png(LABEL, **options), tmp_path / "a.png"))
    assert label.dtype == np.uint8
    assert np.array_equal(label, LABEL)


def test_a_transparent_grey_value_is_a_class_like_others(tmp_path: Path) -> None:
    label = read_label(placed(encoded(LABEL, "PNG", transparency=3), tmp_path / "a.png"))
    assert np.array_equal(label, LABEL)


def test_black_and_white_labels_are_0_and_1(tmp_path: Path) -> None:
    mask = LABEL > 5
    assert np.array_equal(read_label(placed(encoded(mask, "PNG"), tmp_path / "a.png")), mask.astype(np.uint8))


@pytest.mark.parametrize(
    ("array", "mode"),
    [(COLOURS, "RGB"), (np.dstack([COLOURS, LABEL]), "RGBA")],
)
def test_pictures_that_are_not_ids_are_refused_with_their_mode(tmp_path: Path, array: np.ndarray, mode: str) -> None:
    path = placed(encoded(array, "PNG"), tmp_path / "a.png")
    assert refusal(read_label, path) == (
        f"{path}: a {mode} picture, not single-channel class ids; convert it with 'faceparse prepare folder'"
    )


def test_ids_in_16_bits_are_read_as_far_as_they_are_ids(tmp_path: Path) -> None:
    path = placed(encoded(LABEL.astype(np.uint16), "PNG"), tmp_path / "a.png")
    assert np.array_equal(read_label(path), LABEL)
    large = placed(encoded(LABEL.astype(np.uint16) + 256, "PNG"), tmp_path / "b.png")
    assert refusal(read_label, large).startswith(f"{large}: 16-bit value ")


@pytest.mark.parametrize("data", [encoded(LABEL, "PNG"), palette_png(LABEL)], ids=["grey", "palette"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_labels_are_refused(tmp_path: Path, data: bytes, share: float) -> None:
    path = placed(data[: int(share * len(data))], tmp_path / "a.png")
    assert refusal(read_label, path).endswith("; replace the file")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("read", [read_label, read_image, read_size, read_mask])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_no_program_is_started_for_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object], name: str
) -> None:
    """Pillow calls Ghostscript for what is PostScript inside."""
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was called"))
    path = placed(POSTSCRIPT, tmp_path / name)
    assert refusal(read, path).startswith(f"{path}: ")


def test_palette_pngs_are_told_from_others(tmp_path: Path) -> None:
    assert is_palette_png(placed(palette_png(LABEL), tmp_path / "palette.png"))
    assert not is_palette_png(placed(encode_png(LABEL), tmp_path / "grey.png"))
    assert not is_palette_png(placed(encode_png(COLOURS), tmp_path / "colour.png"))


# Round trips.


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 56)])
def test_palette_png_round_trip(tmp_path: Path, shape: tuple[int, int]) -> None:
    label = LABEL[: shape[0], : shape[1]].copy()
    path = tmp_path / "out" / "a.png"
    write_palette_png(path, label, PALETTE)
    assert is_palette_png(path)
    assert np.array_equal(read_label(path), label)
    assert np.array_equal(read_image(path), PALETTE[label])  # what eyes see
    assert [file.name for file in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("array", [LABEL, COLOURS, np.dstack([COLOURS, LABEL])], ids=["label", "colours", "alpha"])
def test_png_round_trip(array: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(array))) as picture:
        assert np.array_equal(np.array(picture), array)


def test_jpeg_round_trip_keeps_the_colours_apart() -> None:
    with Image.open(io.BytesIO(encode_jpeg(SMOOTH))) as picture:
        assert picture.format == "JPEG"
        assert np.abs(np.array(picture).astype(int) - SMOOTH).max() < 16


def test_jpeg_quality_costs_bytes() -> None:
    assert len(encode_jpeg(COLOURS, quality=30)) < len(encode_jpeg(COLOURS, quality=95))


def uniform_png(side: int) -> bytes:
    """A black 1-bit picture, whose zeros nearly vanish."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_256, 30_000])
def test_a_photograph_too_large_for_memory_is_not_decoded(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(DatasetError, match=r"^big.png: more than 150 megapixels; make it smaller$"):
        decode_image(uniform_png(side), "big.png")


def test_a_large_photograph_is_still_one() -> None:
    assert decode_image(uniform_png(2000), "large.png").shape == (2000, 2000, 3)


# One reader for all doors.


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


def test_heic_without_what_reads_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(4)
    with pytest.raises(ResourceError) as caught:
        decode_image(data, "a.heic")
    assert str(caught.value) == ("a.heic: a HEIC photograph; 'pip install pillow-heif' reads them, or save it as JPEG")


def test_heic_is_read_where_the_package_is_there() -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert np.abs(decode_image(encoded(SMOOTH, "HEIF", quality=95), "a.heic").astype(int) - SMOOTH).mean() < 8
    assert ".heic" in IMAGE_SUFFIXES
