"""Detect damaged pictures: compare a file with the lengths and checksums in it.

Decoders fill missing parts with grey, or ignore a wrong checksum. Only lengths and checksums that a format has can be
checked: the pixels of a BMP have no checksum.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

from faceparse.core.errors import DatasetError

PNG = b"\x89PNG\r\n\x1a\n"


def damage(data: bytes) -> str:
    """Damage of an encoded picture, such as `truncated JPEG`; empty where none is found."""
    for begins, kind, is_whole in _KINDS:
        if begins(data):
            try:
                return "" if is_whole(data) else f"truncated or damaged {kind}"
            except (struct.error, IndexError, KeyError, ArithmeticError, zlib.error):
                return f"truncated or damaged {kind}"
    if data[:2] == b"\xff\xd8" and _lacks_end(data):
        return "truncated JPEG"
    return ""


def must_be_whole(data: bytes, where: str) -> None:
    """Raise DatasetError if an encoded picture's own lengths and checksums show damage."""
    if found := damage(data):
        raise DatasetError(f"{where}: {found}; replace the file")


def is_heic(data: bytes) -> bool:
    """Whether a file says that it is HEIC, and not AVIF, which has the same container."""
    return _is_isobmff(data) and any(brand in data[8:64] for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc"))


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as a TIFF."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _is_isobmff(data: bytes) -> bool:
    return data[4:8] == b"ftyp"


def tiff_pixels(data: bytes) -> int:
    """Number of pixels of the first picture of an undamaged TIFF."""
    tags = dict(_directory(data))
    return int(tags[256][0] * tags[257][0])


def _lacks_end(jpeg: bytes) -> bool:
    """Whether a JPEG's scan has no end marker. A thumbnail before it and a film after it may have markers, too."""
    position = 2
    while jpeg[position : position + 1] == b"\xff" and jpeg[position + 1 : position + 2] != b"\xda":
        filler = jpeg[position + 1 : position + 2] == b"\xff"
        position += 1 if filler else 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return jpeg.rfind(b"\xff\xd9", position) < 0


def _png(data: bytes) -> bool:
    """Whether the checksum of each chunk, an animation's too, is right, up to IEND."""
    view, position = memoryview(data), len(PNG)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return False
        if kind == b"IEND":
            return True
        position = end + 4


def _webp(data: bytes) -> bool:
    """Whether the chunks fill the length in the RIFF header, and that is the length of the file."""
    (size,) = struct.unpack_from("<I", data, 4)
    position, end = 12, 8 + size
    if end not in (len(data), len(data) - 1):  # some writers pad
        return False
    while position < end:
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length + length % 2
    return position == end


def _bmp(data: bytes) -> bool:
    """Whether the header has the right lengths of the file (some writers leave it at 0) and of the pixels."""
    length, first, header = struct.unpack_from("<I4xII", data, 2)
    if length not in (0, len(data)):
        return False
    if header < 40:  # OS/2's header
        width, height, bits = struct.unpack_from("<HHxxH", data, 18)
        compression = said = 0
    else:
        width, height, bits, compression, said = struct.unpack_from("<iixxHII", data, 18)
    if compression not in (0, 3):  # run-length encoded: only the header knows the number of bytes
        return bool(first + said <= len(data))
    pixels = ceil(width * bits / 32) * 4 * abs(height)
    return first + pixels <= len(data) and (said == 0 or pixels <= said < pixels + 4)


def _gif(data: bytes) -> bool:
    """Whether the blocks, one after the other, lead to the trailer."""
    position = 13 + _colours(data[10])
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            position += 11 + _colours(data[position + 9])
        elif data[position] == 0x21:
            position += 2
        else:
            return False
        while length := data[position]:
            position += 1 + length
        position += 1
    return True


def _colours(flags: int) -> int:
    """Number of bytes of the colour table that the flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _jp2(data: bytes) -> bool:
    return _boxes(data) and data.rstrip(b"\0")[-2:] == b"\xff\xd9"


def _boxes(data: bytes) -> bool:
    """Whether the boxes fill the file."""
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        elif length == 0:  # to the end of the file
            return True
        if length < 8:
            return False
        position += length
    return position == len(data)


_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def _tiff(data: bytes) -> bool:
    """Whether the strips or tiles of the first picture lie in the file, are long enough, and inflate completely."""
    tags = dict(_directory(data))
    offsets, lengths = (tags.get(strip) or tags.get(tile) for strip, tile in ((273, 324), (279, 325)))
    if not offsets or not lengths or len(offsets) != len(lengths):
        return False
    if any(length == 0 or offset + length > len(data) for offset, length in zip(offsets, lengths, strict=True)):
        return False
    size = _strip(tags)
    if size is None:
        return True
    compression = tags.get(259, (1,))[0]
    if compression == 1:
        return all(length >= size(number) for number, length in enumerate(lengths))
    if compression in (8, 32946):
        return all(
            _inflates(data[offset : offset + length], size(number))
            for number, (offset, length) in enumerate(zip(offsets, lengths, strict=True))
        )
    return True


def _inflates(strip: bytes, size: int) -> bool:
    """Whether a strip ends with a right checksum, and inflates to `size` bytes or more (rows of padding)."""
    stream = zlib.decompressobj()
    inflated = stream.decompress(strip, 2 * size + 4096)
    return stream.eof and len(inflated) >= size


def _directory(data: bytes) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield each tag of the first picture of a TIFF, with its numbers."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, step = ("Q", 20) if big else ("I", 12)
    (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start += 8 if big else 2
    for entry in range(start, start + count * step, step):
        tag, kind, values = struct.unpack_from(order + "HH" + word, data, entry)
        if kind in _TYPES:
            layout = f"{order}{values}{_TYPES[kind]}"
            at = entry + step - struct.calcsize(word)
            if struct.calcsize(layout) > struct.calcsize(word):
                (at,) = struct.unpack_from(order + word, data, at)
            if at + struct.calcsize(layout) > len(data):
                raise struct.error("beyond the end")
            yield tag, struct.unpack_from(layout, data, at)


def _strip(tags: dict[int, tuple[Any, ...]]) -> Callable[[int], int] | None:
    """Function from the number of a strip or tile to its bytes before compression; None where pixels lie otherwise."""
    width, height = tags[256][0], tags[257][0]
    bits = tags.get(258, (1,))
    if tags.get(262, (0,))[0] == 6:  # colour at a lower resolution
        return None
    planes = len(bits) if tags.get(284, (1,))[0] == 2 else 1
    deep = bits[0] if planes > 1 else sum(bits)
    if 322 in tags:
        tile = ceil(tags[322][0] * deep / 8) * tags[323][0]
        return lambda _number: tile
    rows = min(tags.get(278, (height,))[0], height)
    if rows <= 0:
        return None
    strips = ceil(height / rows)
    row = ceil(width * deep / 8)
    return lambda number: row * (min(rows, height - number % strips * rows))


_Test = Callable[[bytes], bool]
_KINDS: tuple[tuple[_Test, str, _Test], ...] = (
    (lambda data: data.startswith(PNG), "PNG", _png),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", "WebP", _webp),
    (lambda data: data[:2] == b"BM", "BMP", _bmp),
    (lambda data: data[:4] == b"GIF8", "GIF", _gif),
    (is_tiff, "TIFF", _tiff),
    (lambda data: data[4:8] == b"jP  ", "JPEG 2000", _jp2),
    (lambda data: data[:4] == b"\xff\x4f\xff\x51", "JPEG 2000", lambda data: data[-2:] == b"\xff\xd9"),
    (_is_isobmff, "AVIF or HEIC", _boxes),
)
"""For each kind: test of the first bytes, name, and test whether the file is complete."""
