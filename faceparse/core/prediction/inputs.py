"""Finds the photographs, videos and cameras that a user typed, and names their outputs."""

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES
from faceparse.core.prediction.input_shard import Shard
from faceparse.core.prediction.prediction_ledger import FOLDER as LEDGER
from faceparse.core.prediction.saving import KINDS
from faceparse.core.text.paths import LONGEST_NAME, broken_link, decode_text, files_below, path_problem
from faceparse.core.text.patterns import any_case, some

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".3gp")

STDIN = "-"
LONGEST_SUFFIX = ".json"
"""Longest suffix of an output file."""
CAMERA = re.compile(r"webcam:(\d+)")


@dataclass(frozen=True)
class Source:
    """A photograph or a video."""

    where: str
    """The path as it was typed or found, or `stdin`."""
    name: str
    """Name of its outputs, without suffix. It begins with a folder if a folder was searched."""
    data: bytes | None = None
    """Content of a photograph that is not a file."""

    @property
    def below(self) -> str:
        """Path below the folder that was searched, with `/` between folders: as tools show an uploaded folder."""
        return (PurePath(self.name).parent / PurePath(self.where).name).as_posix()

    @property
    def path(self) -> str:
        """Absolute path of the file; empty where there is none."""
        return "" if self.data is not None else str(Path(self.where).absolute())

    @property
    def stamp(self) -> str:
        """Size and time of the file; checksum of a photograph that is not a file. Empty if there is none."""
        if self.data is not None:
            return hashlib.sha256(self.data).hexdigest()
        try:
            found = Path(self.where).stat()
        except OSError:
            return ""
        return f"{found.st_size} {found.st_mtime_ns}"

    def bytes(self) -> bytes:
        """Read the encoded photograph."""
        return read_bytes(Path(self.where)) if self.data is None else self.data


@dataclass
class Inputs:
    """Everything that was typed, in its order, each input once."""

    photographs: list[Source] = field(default_factory=list)
    videos: list[Source] = field(default_factory=list)
    cameras: list[int] = field(default_factory=list)
    """Numbers of the cameras."""
    passed_over: list[Path] = field(default_factory=list)
    """Files in searched folders that, by their names, are neither photographs nor videos."""

    def part(self, shard: Shard) -> "Inputs":
        """The photographs and videos of a shard, by their paths below the folders that were searched."""
        photographs = [source for source in self.photographs if shard.has(source.below)]
        return replace(self, photographs=photographs, videos=[one for one in self.videos if shard.has(one.below)])


def gather(typed: Sequence[str], out: Path, *, recursive: bool, stdin: Callable[[], bytes]) -> Inputs:
    """Find the photographs, videos and cameras that were typed.

    A text names a file, a folder, a pattern, `webcam:N`, or `-` for a photograph's bytes from `stdin`. Where folders
    are searched, the outputs of an earlier run in `out` are left aside.

    Raises:
        DatasetError: an input does not exist, a search finds nothing, or two inputs would have the same outputs.
    """
    inputs = Inputs()
    files: dict[Path, Path] = {}
    for text in dict.fromkeys(typed):
        if camera := CAMERA.fullmatch(text):
            if len(camera[1]) > 3:
                raise DatasetError(f"{text[:40]}: no such camera; they are numbered from webcam:0 to webcam:999")
            inputs.cameras.append(int(camera[1]))
        elif text == STDIN:
            inputs.photographs.append(Source("stdin", "stdin", stdin()))
        else:
            found, others = _files(text, out, recursive=recursive)
            inputs.passed_over = list(dict.fromkeys([*inputs.passed_over, *others]))
            for path, base in found:
                files.setdefault(path, base)
    taken = [source.name for source in inputs.photographs] + [camera_name(number) for number in inputs.cameras]
    for path, name in _names(files, taken).items():
        kind = inputs.videos if _is_video(path) else inputs.photographs
        kind.append(Source(str(path), name))
    return inputs


def camera_name(number: int) -> str:
    """Name of a camera's outputs."""
    return f"webcam-{number}"


def read_list(data: bytes, where: str = "list") -> list[str]:
    """Read the inputs in a list, one per line: UTF-8, UTF-16 or the file system's bytes. Windows line ends are fine.

    Raises:
        DatasetError: a line names something that does not exist.
    """
    inputs = []
    for number, line in enumerate(decode_text(data, errors="surrogateescape").replace("\r\n", "\n").split("\n"), 1):
        name = line if path_problem(line) is None and os.path.lexists(line) else line.strip()
        if name:
            _must_be_there(name, f"{where}:{number}: ")
            inputs.append(name)
    return inputs


def _must_be_there(text: str, where: str = "") -> None:
    """Raise an error if a typed input cannot exist.

    Raises:
        DatasetError: no file can have this name; or it is no existing file, pattern, camera or standard input.
    """
    if text == STDIN or CAMERA.fullmatch(text):
        return
    if problem := path_problem(text):
        raise DatasetError(f"{where}{problem}")
    path = Path(text)
    if not (path.exists() or glob.has_magic(text)):
        if link := broken_link(path):
            raise DatasetError(f"{where}{link}; fix the link")
        slashes = "; write / between folders and names" if "\\" in text else ""
        fix = "; fix the list" if where and not slashes else ""
        raise DatasetError(f"{where}{text}: no such photograph, video or folder{slashes}{fix}")


def _files(text: str, out: Path, *, recursive: bool) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return each file with the folder that its name is relative to, and the files that were passed over."""
    _must_be_there(text)
    path = Path(text)
    if path.is_file():
        return [(path, path.parent)], []
    if path.is_dir():
        base, found = path, files_below(path) if recursive else path.glob("*")
    else:
        base = next(parent for parent in path.parents if not glob.has_magic(str(parent)))
        found = base.glob(any_case(str(path.relative_to(base))))
    ours = {Path(os.path.realpath(out)) / folder for folder in (*KINDS, LEDGER)}
    files = sorted(_visible(found, base, ours))
    pictures, others = list[Path](), list[Path]()
    for file in files:
        (pictures if file.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES else others).append(file)
    if not pictures:
        deeper = "" if recursive or not path.is_dir() else "; --recursive searches the folders in it, too"
        there = f", but {some(others)}" if others else ""
        raise DatasetError(f"{text}: no photographs or videos in it ({', '.join(IMAGE_SUFFIXES)}, ...){there}{deeper}")
    return [(picture, base) for picture in pictures], others


def _visible(found: Iterator[Path], base: Path, ours: set[Path]) -> Iterator[Path]:
    for path in found:
        hidden = any(part.startswith(".") for part in path.relative_to(base).parts)  # a Mac's `._a.jpg` is no picture
        if not hidden and path.is_file() and ours.isdisjoint(Path(os.path.realpath(path)).parents):
            yield path


def _names(files: dict[Path, Path], taken: Sequence[str]) -> dict[Path, str]:
    """Name of each file's outputs: its path below the searched folder, without the suffix.

    The suffix stays where two files differ only in it, such as `a.jpg` and `a.png`.
    """
    relative = {path: PurePath(path.relative_to(base)) for path, base in files.items()}
    # A film has a folder of its own name, for its frames: no photograph may have outputs in it.
    folders = {str(parent) for path in relative.values() for parent in path.parents}
    stems = Counter([*(str(path.with_suffix("")) for path in relative.values()), *taken])
    names = {}
    for path, short in relative.items():
        alone = stems[str(short.with_suffix(""))] == 1
        alone &= not (_is_video(path) and str(short.with_suffix("")) in folders)
        names[path] = _fitting(short.with_suffix("") if alone else short.with_name(short.name.replace(".", "_")))
    clash = [name for name, count in Counter([*names.values(), *taken]).items() if count > 1]
    films = {name for path, name in names.items() if _is_video(path)} | set(taken)
    clash += [name for name in names.values() if not films.isdisjoint(map(str, PurePath(name).parents))]
    if clash:
        raise DatasetError(
            f"two inputs would both be written as {clash[0]!r}; give the folder of both with --recursive, or run "
            "predict once per folder, each with its own --output"
        )
    return names


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _fitting(name: PurePath) -> str:
    """Return the name, shortened if an output's suffix would make it too long for a file."""
    if len(os.fsencode(name.name)) <= LONGEST_NAME - len(LONGEST_SUFFIX):
        return str(name)
    short, digest = name.name, hashlib.sha256(os.fsencode(name.name)).hexdigest()[:8]
    while len(os.fsencode(short)) > LONGEST_NAME - len(LONGEST_SUFFIX) - len(digest) - 1:
        short = short[:-1]
    return str(name.with_name(f"{short}-{digest}"))
