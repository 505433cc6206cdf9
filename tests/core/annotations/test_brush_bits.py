"""Label Studio's bits, against a slow reader of single bits and its own converter's bytes."""

import numpy as np
import pytest

from faceparse.core.annotations.brush_bits import decode_brush, encode_brush
from faceparse.core.annotations.runs_shape import lengths_of

CONVERTED = bytes([0, 0, 0, 96, 57, 27, 252, 96, 17, 255, 225, 112, 11, 127, 241, 128, 71, 255, 137, 192, 35, 255, 0])
"""What `label_studio_sdk.converter.brush.mask2rle` (2.1.2) made of `MASK`."""
MASK = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], bool)


def slowly(data: bytes) -> list[int]:
    """All values, bit by bit as the format says."""
    text = "".join(f"{byte:08b}" for byte in data)

    def take(size: int) -> int:
        nonlocal text
        number, text = int(text[:size], 2), text[size:]
        return number

    count, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeats = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if repeats else [take(word) for _ in range(length)]
    return values


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98, 1])
def test_masks_come_back_from_their_bits(share: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(5):
        mask = random.random((int(random.integers(1, 30)), int(random.integers(1, 30)))) < share
        data = encode_brush(lengths_of(mask))
        assert slowly(data) == (255 * mask.astype(int)).ravel().repeat(4).tolist()
        assert decode_brush(data, mask.size).tolist() == lengths_of(mask)


def test_long_runs_are_split() -> None:
    lengths = [10, 50_000, 7, 100_000]
    assert decode_brush(encode_brush(lengths), sum(lengths)).tolist() == lengths


def test_the_converters_masks_are_read() -> None:
    assert decode_brush(CONVERTED, 24).tolist() == lengths_of(MASK)


def test_only_the_alpha_counts_and_single_values_are_read() -> None:
    """Values of 3 bits, one by one: what an editor's canvas holds is not the same in all channels."""
    pixels = [(7, 0, 0, 0), (0, 0, 0, 5), (1, 2, 3, 4), (0, 7, 7, 0)]
    values = [value for pixel in pixels for value in pixel]
    bits = f"{16:032b}{2:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}" + "0" + "01" + f"{15:04b}"
    bits += "".join(f"{value:03b}" for value in values)
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    assert slowly(data) == values
    assert decode_brush(data, 4).tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (CONVERTED[:-3], "its runs end too early; export it again"),
        (b"", "its runs end too early; export it again"),
        (b"\xff" * 60, "a mask of 1073741823 pixels, its picture has 24"),
        (encode_brush([20]), "a mask of 20 pixels, its picture has 24"),
        (CONVERTED[:7] + b"\xff" * 9, "its runs are longer than its picture; export it again"),
    ],
)
def test_damaged_masks_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        decode_brush(data, 24)
    assert str(caught.value) == expected
