"""Reading pictures strictly and writing files whole."""

import errno
import io
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from faceparse.core.errors import ColourLabelError, DatasetError, OutputError, first_line
from faceparse.core.leftovers import beside, held, held_folder, remove_leftovers, remove_once
from faceparse.core.paths import broken_link, path_problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

MAX_PIXELS = 150_000_000
"""Of a photograph, which takes 450 MB then: more than cameras make, less than what fills a small machine's memory.
OpenCV's own limit is 2^30 pixels."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # Pillow's opinion of a lower limit

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""What Pillow may take a file's content for. It knows others, and some start programs: EPS calls Ghostscript."""

DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What PIL raises on damaged files."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new one."""
    write_atomic_with(path, lambda file: file.write(data))


def write_atomic_with(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full; `path` is left as it was.
    """
    with atomic_file(path) as file:
        write(file)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path`, put in place once the block has filled it; removed where it did not.

    Raises:
        OutputError: as `write_atomic_with`; or something that is no file stands there, such as a device.
    """
    place = _place(path)
    temporary = beside(place, "tmp")
    remove_once(place.parent)
    try:
        try:
            file = temporary.open("xb")
        except FileNotFoundError:
            place.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("xb")
        try:
            with held(file.fileno()):
                with file:
                    yield file
                temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from error


def write_folder_with(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` fill a temporary folder beside `path`, then put it in the place of the folder that was there.

    Raises:
        OutputError: the place cannot be written, or `path` is a file; it is left as it was.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    make_folder(path.parent)
    place = Path(os.path.realpath(path))  # a link stays, and what it leads to is written
    if place.exists() and not place.is_dir():
        raise OutputError(f"cannot write {path}: it is a file; choose another place")
    remove_leftovers(place.parent)
    temporary, old = beside(place, "tmp"), beside(place, "old")
    try:
        with held_folder(temporary), held_folder(old):
            fill(temporary)
            if place.exists():
                place.replace(old / place.name)
            try:
                temporary.replace(place)
            except OSError:
                if (old / place.name).exists():
                    (old / place.name).replace(place)
                raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _place(path: Path) -> Path:
    """Where a file at `path` is written: a link stays, and what it leads to is written.

    Raises:
        OutputError: no file can be named so.
        OutputError: a device, a pipe or a socket stands there. A rename would put a file in its place: as root, in that
            of /dev/null.
    """
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    place = Path(os.path.realpath(path))
    try:
        mode = place.lstat().st_mode
    except OSError:  # nothing there yet, or nothing that can be reached: writing will say so
        return place
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OutputError(f"cannot write {path}: it is no regular file; choose another place")
    return place


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    in_the_way = error.errno in (errno.EEXIST, errno.ENOTDIR)  # a file where a folder should be
    mend = "choose another place" if in_the_way else "free space or choose another place"
    mend = {errno.ENAMETOOLONG: "choose a shorter name", errno.ELOOP: "mend the link"}.get(error.errno or 0, mend)
    return OutputError(f"cannot write {path}: {error.strerror or error}; {mend}")


def make_folder(path: Path) -> None:
    """Create `path` and prove that it can be written, before long work is spent on filling it."""
    if problem := path_problem(path):
        raise OutputError(f"cannot write {problem}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def read_bytes(path: Path) -> bytes:
    """
    Raises:
        DatasetError: it cannot be read; a broken link is named as one.
    """
    if problem := path_problem(path):
        raise DatasetError(f"cannot read {problem}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {broken_link(path) or error.strerror or error}") from None


def read_image(path: Path) -> np.ndarray:
    """H x W x 3 uint8, RGB, turned upright by its EXIF orientation.

    Raises:
        DatasetError: missing, truncated, or not an image.
    """
    return decode_image(read_bytes(path), str(path))


def check_pixels(data: bytes, where: str) -> None:
    """Look at what an encoded picture's header promises, before memory is spent on it.

    Raises:
        DatasetError: more than `MAX_PIXELS`.
    """
    must_be_small_enough(_pixels(data), where)


def must_be_small_enough(pixels: float, where: str) -> None:
    """
    Raises:
        DatasetError: more than `MAX_PIXELS`.
    """
    if pixels > MAX_PIXELS:
        raise DatasetError(f"{where}: more than {MAX_PIXELS // 10**6} megapixels; make it smaller")


def open_picture(source: Path | BinaryIO) -> Image.Image:
    """A picture of one of `FORMATS`, by its content; its pixels are not read yet.

    Raises:
        DAMAGED: it is none.
    """
    return Image.open(source, formats=FORMATS)


def _pixels(data: bytes) -> float:
    """As the header says; 0 where Pillow knows nothing of it, and OpenCV has the last word."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return float("inf")
    except DAMAGED:
        return 0


def decode_image(data: bytes, where: str) -> np.ndarray:
    """`read_image` of a file's content; `where` it came from is what errors name."""
    # OpenCV 4 decodes a truncated JPEG to a half-grey picture without an error: look for the end marker ourselves.
    if data[:2] == b"\xff\xd8" and _lacks_end(data):
        raise DatasetError(f"{where}: truncated JPEG; replace the file")
    image = _decode(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise DatasetError(f"{where}: not a readable image; replace the file")
    return image


def decode_photograph(data: bytes, where: str) -> np.ndarray:
    """`decode_image` of whatever people send.

    Raises:
        DatasetError: it cannot be read, or has more than `MAX_PIXELS`, which is seen before it is decoded.
    """
    check_pixels(data, where)
    return decode_image(data, where)


def _lacks_end(jpeg: bytes) -> bool:
    """Whether a JPEG's scan has no end marker. A thumbnail before it and a film behind it may have markers, too."""
    position = 2
    while jpeg[position : position + 1] == b"\xff" and jpeg[position + 1 : position + 2] != b"\xda":
        filler = jpeg[position + 1 : position + 2] == b"\xff"
        position += 1 if filler else 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return jpeg.rfind(b"\xff\xd9", position) < 0


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a damaged header that promises an impossible size
        return None


def read_label(path: Path) -> np.ndarray:
    """H x W uint8 class ids of a single-channel or palette PNG (a palette's indices, not its colours).

    Raises:
        DatasetError: missing, unreadable, a colour picture, or of a format that changes values.
    """
    data = read_bytes(path)
    must_be_lossless(data, path)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x08\x00":  # 8-bit greyscale: OpenCV is fast and exact
        label = _decode(data, cv2.IMREAD_UNCHANGED)
        if label is None:
            raise DatasetError(f"{path}: truncated or damaged PNG; replace the file")
        return label
    try:
        with open_picture(path) as picture:
            picture.load()
            if picture.mode.startswith("I"):
                return _narrow(np.asarray(picture), path)
            if picture.mode not in ("L", "P", "1"):
                raise ColourLabelError(
                    f"{path}: a {picture.mode} picture, not single-channel class ids; "
                    "convert it with 'faceparse prepare folder'"
                )
            return np.array(picture, np.uint8)
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable label picture ({error}); replace the file") from None


def must_be_lossless(data: bytes, path: Path) -> None:
    """
    Raises:
        DatasetError: a label's file is a JPEG or a lossy WebP: values along borders are others than were saved.
    """
    lossy_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP" and b"VP8 " in data[12:64]
    if data[:2] == b"\xff\xd8" or lossy_webp:
        kind = "WebP" if lossy_webp else "JPEG"
        raise DatasetError(f"{path}: a {kind} changes the values of a label; save it as PNG from where it was drawn")


def read_size(path: Path) -> tuple[int, int]:
    """Height and width that a picture's header promises; neither pixels nor orientation are looked at.

    Raises:
        DatasetError: missing, or not a picture.
    """
    try:
        with open_picture(path) as picture:
            return picture.height, picture.width
    except DAMAGED as error:
        raise DatasetError(f"{path}: not a readable picture ({error}); replace the file") from None


def read_mask(path: Path) -> np.ndarray:
    """H x W bool: where a picture of any kind is not black.

    Raises:
        DatasetError: missing or unreadable.
    """
    mask = _decode(read_bytes(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DatasetError(f"{path}: truncated or damaged mask; replace the file")
    return mask != 0


def _narrow(label: np.ndarray, path: Path) -> np.ndarray:
    """16-bit ids as bytes."""
    if label.max(initial=0) > 255:
        raise DatasetError(f"{path}: 16-bit value {label.max()} is no class id; ids go to 255")
    return label.astype(np.uint8)


def is_palette_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(26)[25:26] == b"\x03"


def encode_png(array: np.ndarray) -> bytes:
    """PNG of an H x W, H x W x 3 (RGB) or H x W x 4 (RGBA) uint8 array."""
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if array.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", array)[1].tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """JPEG of an H x W x 3 uint8 RGB array."""
    picture = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def encode_palette_png(label: np.ndarray, palette: np.ndarray) -> bytes:
    """Indexed PNG of an H x W uint8 label: ids for programs, colours for eyes."""
    picture = Image.fromarray(label, mode="P")
    picture.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_palette_png(path: Path, label: np.ndarray, palette: np.ndarray) -> None:
    """Write `encode_palette_png`'s.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(path, encode_palette_png(label, palette))


def encode_matrix(matrix: np.ndarray) -> bytes:
    """A .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()


_MATRIX_BYTES = 4096
"""Many times what a file of `encode_matrix` has."""


def read_matrix(path: Path) -> np.ndarray:
    """2 x 3 float64 from a .npy file.

    Raises:
        DatasetError: missing, not such a file, or not finite.
    """
    try:
        with path.open("rb") as file:
            matrix = np.lib.format.read_array(io.BytesIO(file.read(_MATRIX_BYTES)), allow_pickle=False)
    except MemoryError:
        raise DatasetError(f"{path}: promises more than it holds; prepare the dataset again") from None
    except Exception as error:  # a damaged header makes NumPy's parser raise anything
        raise DatasetError(f"{path}: not a .npy matrix ({first_line(error)}); prepare the dataset again") from None
    if matrix.dtype.kind not in "fiu":
        raise DatasetError(f"{path}: holds {matrix.dtype}, not numbers; prepare the dataset again")
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all():
        raise DatasetError(f"{path}: has shape {matrix.shape}, not a finite 2 x 3 matrix; prepare the dataset again")
    return matrix.astype(np.float64)
