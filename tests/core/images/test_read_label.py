"""Labels are read strictly, value by value."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import is_palette_png, read_label, read_mask
from tests.core.images.made import COLOURS, LABEL, encoded, palette_png, placed, refusal


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


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
@pytest.mark.parametrize("read", [read_label, read_mask])
def test_several_pictures_are_no_label(tmp_path: Path, kind: str, read: object) -> None:
    others = [Image.fromarray(LABEL[::-1].copy())]
    path = placed(encoded(LABEL, kind, save_all=True, append_images=others), tmp_path / "a.png")
    assert refusal(read, path) == f"{path}: holds 2 pictures, and a label is one; save the right one alone, as PNG"


def test_several_painted_pictures_are_no_label(tmp_path: Path) -> None:
    others = [Image.fromarray(COLOURS[::-1].copy())]
    path = placed(encoded(COLOURS, "PNG", save_all=True, append_images=others), tmp_path / "a.png")
    assert "holds 2 pictures, and a label is one" in refusal(read_label, path)


def test_an_animation_of_one_picture_is_a_label(tmp_path: Path) -> None:
    path = placed(encoded(LABEL, "PNG", save_all=True), tmp_path / "a.png")
    assert np.array_equal(read_label(path), LABEL)


def test_palette_pngs_are_told_from_others(tmp_path: Path) -> None:
    assert is_palette_png(placed(palette_png(LABEL), tmp_path / "palette.png"))
    assert not is_palette_png(placed(encode_png(LABEL), tmp_path / "grey.png"))
    assert not is_palette_png(placed(encode_png(COLOURS), tmp_path / "colour.png"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_ids_in_few_bits_are_ids(tmp_path: Path, bits: int) -> None:
    """Pillow makes greys of them, from black to white."""
    ids = (np.arange(16).reshape(4, 4) % 2**bits).astype(np.uint8)
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in ids]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, bits, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    assert np.array_equal(read_label(path), ids)
