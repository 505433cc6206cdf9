"""Reading pictures strictly and writing files whole."""

import errno
import io
import os
import shutil
import stat
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from faceparse.core.errors import ColourLabelError, DatasetError, OutputError, ResourceError, first_line
from faceparse.core.leftovers import new_file, new_folder, remove_leftovers, remove_once
from faceparse.core.paths import broken_link, path_problem
from faceparse.core.whole import damage, is_heic, is_tiff, tiff_pixels

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".jp2", ".ppm", ".pgm", ".avif", ".heic"),
)
"""Of photographs that are looked for in folders, in any case of letters."""

MAX_PIXELS = 150_000_000
"""Of a photograph, which takes 450 MB then: more than cameras make, less than what fills a small machine's memory.
OpenCV's own limit is 2^30 pixels."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # Pillow's opinion of a lower limit

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "PPM", "AVIF")
"""What Pillow may take a file's content for. It knows others, and some start programs: EPS calls Ghostscript."""

MEAN_COLOUR = (124, 116, 104)
"""RGB: what lies behind transparent pixels. It is ImageNet's mean, which most networks see as 0."""

DAMAGED = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, struct.error),
    Image.DecompressionBombError,
)
"""What PIL raises on damaged files, whose headers it believes."""


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
    remove_once(place.parent)
    try:
        if not place.parent.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
        with new_file(place) as (temporary, file):
            try:
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
    try:
        with new_folder(place, "tmp") as temporary, new_folder(place, "old") as old:
            try:
                fill(temporary)
                if place.exists():
                    place.replace(old / place.name)
                try:
                    temporary.replace(place)
                except OSError:
                    if (old / place.name).exists():
                        (old / place.name).replace(place)
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise cannot_write(path, error) from error


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


def any_case(pattern: str) -> str:
    """`photos/*.jpg` -> a pattern that finds `a.JPG`, too: cameras and phones differ."""
    before, dot, suffix = pattern.rpartition(".")
    if not suffix.isalnum():
        return pattern
    return before + dot + "".join(f"[{c.lower()}{c.upper()}]" if dot and c.isalpha() else c for c in suffix)


def some(files: Sequence[Path]) -> str:
    """`3 others: a.txt, b.txt and 1 more`: how many, and the first of them by name."""
    names = ", ".join(path.name for path in files[:5])
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return f"{len(files)} other{'s' * (len(files) != 1)}: {names}{more}"


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


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph as it was read: upright, with 8 bits a channel."""

    image: np.ndarray
    """H x W x 3 uint8 RGB; what is transparent lies over `MEAN_COLOUR`."""
    rgba: np.ndarray | None = None
    """H x W x 4 uint8, as it is in the file; None where all is opaque."""
    frames: int = 1
    """Pictures in the file, such as those of an animation. This is the first."""
    kind: str = ""
    """One of `FORMATS`, or what Pillow makes of one."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def own(self) -> np.ndarray:
        """H x W x 3 or 4 uint8: the picture with its transparency, where it has any."""
        return self.image if self.rgba is None else self.rgba

    @cached_property
    def clear(self) -> np.ndarray | None:
        """H x W bool: where nothing of it can be seen; None where there is something everywhere."""
        clear = None if self.rgba is None else self.rgba[..., 3] == 0
        return clear if clear is not None and clear.any() else None

    @property
    def notice(self) -> str:
        """What whoever gave the file should know; empty where there is nothing."""
        return f"holds {self.frames} pictures; only the first is taken" if self.frames > 1 else ""


def read_image(path: Path) -> np.ndarray:
    """H x W x 3 uint8, RGB, turned upright by its EXIF orientation, over `MEAN_COLOUR` where it is transparent.

    Raises:
        DatasetError: missing, truncated, not an image, or more than `MAX_PIXELS`.
        ResourceError: nothing is installed that reads its format.
    """
    return decode_image(read_bytes(path), str(path))


def decode_image(data: bytes, where: str) -> np.ndarray:
    """`read_image` of a file's content; `where` it came from is what errors name."""
    return decode_picture(data, where).image


def decode_picture(data: bytes, where: str) -> Picture:
    """The picture in a file's content: the one way in which photographs are read.

    Raises:
        DatasetError, ResourceError: as `read_image`. The size is looked at before memory is spent on it.
    """
    try:
        picture = open_picture(io.BytesIO(data), where)
    except DAMAGED as error:
        check_pixels(data, where)
        must_be_whole(data, where)
        found = _odd_tiff(data, where) if isinstance(error, UnidentifiedImageError) else None
    else:
        with picture:
            must_be_small_enough(picture.width * picture.height, where)
            must_be_whole(data, where)
            found = _read(picture, data, where)
    if found is None:
        raise DatasetError(f"{where}: not a readable image; replace the file")
    return found


def must_be_whole(data: bytes, where: str) -> None:
    """
    Raises:
        DatasetError: an encoded picture's own lengths and checksums say that it is damaged.
    """
    if found := damage(data):
        raise DatasetError(f"{where}: {found}; replace the file")


def _read(picture: Image.Image, data: bytes, where: str) -> Picture | None:
    """None where it is damaged."""
    try:
        if _is_plain(picture):
            image = _decode(data, cv2.IMREAD_COLOR_RGB)
            return None if image is None else Picture(image, kind=picture.format or "")
        if picture.format == "PNG" and _decode(data, cv2.IMREAD_UNCHANGED) is None:
            return None  # Pillow takes rows that are missing for black
        return from_pillow(picture, where)
    except DAMAGED:
        return None


def _is_plain(picture: Image.Image) -> bool:
    """Whether OpenCV, which is faster, reads it as Pillow would."""
    if picture.format in ("JPEG", "MPO"):
        return True
    opaque = picture.mode in ("L", "RGB") and not picture.has_transparency_data
    return picture.format in ("PNG", "BMP") and opaque and _frames(picture) == 1


def _frames(picture: Image.Image) -> int:
    """Pictures in the file that are meant to be seen: a camera's MPO has one, and others to look up."""
    return 1 if picture.format in ("JPEG", "MPO") else getattr(picture, "n_frames", 1)


def from_pillow(picture: Image.Image, where: str) -> Picture:
    """A picture that Pillow opened.

    Raises:
        DatasetError: its values are no colours, or there are more than `MAX_PIXELS`.
        DAMAGED: it cannot be read.
    """
    must_be_small_enough(picture.width * picture.height, where)
    frames, kind = _frames(picture), picture.format or ""
    depth = _depth(picture)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        return Picture(_in_bytes(np.asarray(upright), where, depth), None, frames, kind)
    if not upright.has_transparency_data:
        return Picture(np.asarray(upright.convert("RGB")), None, frames, kind)
    rgba = np.asarray(upright.convert("RGBA"))
    if (rgba[..., 3] == 255).all():
        return Picture(np.ascontiguousarray(rgba[..., :3]), None, frames, kind)
    return Picture(_over_mean(rgba), rgba, frames, kind)


def _over_mean(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    mean = np.array(MEAN_COLOUR, np.uint16)
    return np.asarray((rgba[..., :3] * alpha + mean * (255 - alpha) + 127) // 255, np.uint8)


def _depth(picture: Image.Image) -> int:
    """Bits that a value of a picture with more than 8 has: TIFFs of 12 bits are widened, not scaled."""
    if picture.mode == "I" and np.asarray(picture).max(initial=0) < 256:  # bytes that were widened
        return 8
    bits = getattr(picture, "tag_v2", {}).get(258, (16,))
    return min(int(bits[0]), 16)


def _in_bytes(values: np.ndarray, where: str, depth: int = 16) -> np.ndarray:
    """H x W (x 3) integers of `depth` bits, or floats from 0 to 1 -> H x W x 3 uint8.

    Raises:
        DatasetError: there are others.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if values.dtype.kind == "f":
        most, scaled = 1.0, np.rint(255 * values) if 0 <= low <= high <= 1 else values
    else:
        most, scaled = 2.0**depth - 1, values >> (depth - 8)
    if not 0 <= low <= high <= most:
        raise DatasetError(
            f"{where}: values from {low:g} to {high:g} are no colours (0 to {most:g}); save it with 8 bits a channel"
        )
    image = scaled.astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _odd_tiff(data: bytes, where: str) -> Picture | None:
    """A TIFF of a depth that Pillow does not know in colour, such as 12 bits or floats: OpenCV gives 16 bits or floats.
    None where it is none.
    """
    if not is_tiff(data):
        return None
    must_be_small_enough(tiff_pixels(data), where)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    values = _decode(data, cv2.IMREAD_COLOR_BGR | cv2.IMREAD_ANYDEPTH)  # asked for RGB, OpenCV 5.0 spoils 12 bits
    if values is None or values.dtype == np.uint8:  # of 8 bits Pillow knows all: this one is damaged
        return None
    return Picture(np.ascontiguousarray(_in_bytes(values, where)[..., ::-1]), kind="TIFF")


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


def open_picture(source: Path | BinaryIO, where: str = "") -> Image.Image:
    """A picture of one of `FORMATS`, or HEIC, by its content; its pixels are not read yet.

    Raises:
        DAMAGED: it is none.
        ResourceError: it is a HEIC, and nothing is installed that reads one.
    """
    try:
        return Image.open(source, formats=FORMATS)
    except UnidentifiedImageError:
        if not _is_heic(source):
            raise
    try:
        import pillow_heif
    except ImportError:
        raise ResourceError(
            f"{where or source}: a HEIC photograph; 'pip install pillow-heif' reads them, or save it as JPEG"
        ) from None
    pillow_heif.register_heif_opener()
    return Image.open(source, formats=("HEIF",))


def has_known_kind(data: bytes) -> bool:
    """Whether a file's content looks like a picture of one of `FORMATS`, or like HEIC."""
    try:
        open_picture(io.BytesIO(data)).close()
    except ResourceError:
        return True
    except DAMAGED:
        return False
    return True


def _is_heic(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_heic(file.read(64))
    source.seek(0)
    head = source.read(64)
    source.seek(0)
    return is_heic(head)


def _pixels(data: bytes) -> float:
    """As the header says; 0 where Pillow knows nothing of it, and OpenCV has the last word."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            return picture.width * picture.height
    except Image.DecompressionBombError:
        return float("inf")
    except (*DAMAGED, ResourceError):
        return 0


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a damaged header that promises an impossible size
        return None


def read_orientation(data: bytes) -> int:
    """By which EXIF says a photograph is to be turned upright; 1 where it says nothing."""
    try:
        with open_picture(io.BytesIO(data)) as picture:
            orientation = picture.getexif().get(0x0112, 1)
    except (*DAMAGED, ResourceError):
        return 1
    return orientation if orientation in range(2, 9) else 1


def read_label(path: Path) -> np.ndarray:
    """H x W uint8 class ids of a single-channel or palette PNG (a palette's indices, not its colours).

    Raises:
        DatasetError: missing, unreadable, a colour picture, or of a format that changes values.
    """
    data = read_bytes(path)
    must_be_lossless(data, path)
    must_be_whole(data, str(path))
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:26] == b"\x08\x00":  # 8-bit greyscale: OpenCV is fast and exact
        label = _decode(data, cv2.IMREAD_UNCHANGED)
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
    data = read_bytes(path)
    must_be_whole(data, str(path))
    mask = _decode(data, cv2.IMREAD_GRAYSCALE)
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
