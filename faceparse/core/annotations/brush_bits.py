"""Label Studio's brush masks: runs of bytes as a string of bits, in the form that its editor packs.

32 bits: number of values, four for each pixel (RGBA, along the rows). 5 bits: bits of a value, minus one. Four times 4
bits: the sizes of lengths, minus one. Then blocks: a bit (1 for one value that repeats, 0 for single values), 2 bits
(which of the four sizes), the length minus one in that size, and the value or the values.
"""

import numpy as np

_SIZES = (3, 4, 8, 16)
"""Sizes of lengths that we write, in bits; the editor and its converter write the same ones."""
_CHANNELS = 4


def decode_brush(data: bytes, pixels: int) -> np.ndarray:
    """Lengths of the runs of opaque pixels and others, in turn, the first one not opaque: int64.

    Args:
        pixels: number of pixels of the picture.

    Raises:
        ValueError: the mask is damaged, or of another number of pixels; the message is half a line.
    """
    bits = _Bits(data)
    number = bits.read(32)
    if number != _CHANNELS * pixels:
        raise ValueError(f"a mask of {number // _CHANNELS} pixels, its picture has {pixels}")
    value_size, sizes = bits.read(5) + 1, [bits.read(4) + 1 for _ in range(4)]
    ends, values, done = [0], [0], 0
    while done < number:
        repeats = bits.read(1)
        length = bits.read(sizes[bits.read(2)]) + 1
        if repeats:
            ends.append(done + length)
            values.append(bits.read(value_size))
        else:
            ends += range(done + 1, done + length + 1)
            values += [bits.read(value_size) for _ in range(length)]
        done += length
    if done != number:
        raise ValueError("its runs are longer than its picture; export it again")
    # Only the alpha of each pixel counts, at 3, 7, 11, ...: so many of them lie before each end.
    lengths = np.diff(np.array(ends, np.int64) // _CHANNELS)
    opaque = (np.array(values[1:]) != 0)[lengths > 0]
    turns = np.flatnonzero(np.diff(opaque, prepend=False))
    sums = np.concatenate([[0], lengths[lengths > 0].cumsum()])
    return np.diff(np.concatenate([[0], sums[turns], [pixels]]))


class _Bits:
    """Reads numbers from a string of bits."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int) -> int:
        start, self._at = self._at, self._at + size
        if self._at > 8 * len(self._data):
            raise ValueError("its runs end too early; export it again")
        piece = int.from_bytes(self._data[start // 8 : -(-self._at // 8)])
        return piece >> -self._at % 8 & (1 << size) - 1


def encode_brush(lengths: list[int]) -> bytes:
    """Pack runs of transparent and opaque pixels, in turn: the reverse of `decode_brush`."""
    values = _CHANNELS * sum(lengths)
    text = [f"{values:032b}{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for number, length in enumerate(lengths):
        value = "1" * 8 if number % 2 else "0" * 8
        rest = _CHANNELS * length
        while rest:
            part = min(rest, 1 << _SIZES[-1])
            which = next(i for i, size in enumerate(_SIZES) if part <= 1 << size)
            text.append(f"1{which:02b}{part - 1:0{_SIZES[which]}b}{value}")
            rest -= part
    bits = "".join(text)
    padded = bits + "0" * (-len(bits) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8)
