"""Finds the photographs, videos and cameras that a user typed, and names their outputs."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.images.photograph import Found, Given, Photograph
from faceparse.core.images.photograph_sources import Searcher, must_be_there
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.part_row import PART_SUFFIXES
from faceparse.core.prediction.prediction_ledger import FOLDER as LEDGER
from faceparse.core.prediction.saving import KINDS
from faceparse.core.text.paths import LONGEST_NAME, decode_text, path_problem

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".3gp")

STDIN = "-"
LONGEST_SUFFIX = ".json"
"""Longest suffix of an output file."""
CAMERA = re.compile(r"webcam:(\d+)")


@dataclass(frozen=True, slots=True)
class Source(Photograph):
    """A photograph or a video, with the name of its outputs."""

    name: str
    """Name of its outputs, without suffix. It begins with a folder if a folder was searched."""

    @property
    def below(self) -> str:
        """Path below the folder that was searched, with `/` between folders: as tools show an uploaded folder."""
        return (PurePath(self.name).parent / PurePath(self.where).name).as_posix()


@dataclass
class Inputs:
    """Everything that was typed, in its order, each input once."""

    photographs: list[Source] = field(default_factory=list)
    videos: list[Source] = field(default_factory=list)
    cameras: list[int] = field(default_factory=list)
    """Numbers of the cameras."""
    passed_over: list[Path] = field(default_factory=list)
    """Files in searched folders that, by their names, are neither photographs nor videos."""

    def part(self, shard: InputShard) -> "Inputs":
        """The photographs and videos of a shard, by their paths below the folders that were searched."""
        photographs = [source for source in self.photographs if shard.has(source.below)]
        return replace(self, photographs=photographs, videos=[one for one in self.videos if shard.has(one.below)])


def gather(
    typed: Sequence[str], out: Path, *, recursive: bool, stdin: Callable[[], bytes], column: str | None = None
) -> Inputs:
    """Find the photographs, videos and cameras that were typed.

    A text is a place of `Searcher`, `webcam:N`, or `-` for a photograph's bytes from `stdin`. Where folders are
    searched, the outputs of an earlier run in `out` are left aside. `column` is that of Parquet files.

    Raises:
        DatasetError: an input does not exist, a search finds nothing, or two inputs would have the same outputs.
        ResourceError: a package that an input needs is not installed.
        SettingsError: a column is named, but there is no Parquet file.
    """
    inputs, places = Inputs(), list[str]()
    for text in dict.fromkeys(typed):
        if camera := CAMERA.fullmatch(text):
            if len(camera[1]) > 3:
                raise DatasetError(f"{text[:40]}: no such camera; they are numbered from webcam:0 to webcam:999")
            inputs.cameras.append(int(camera[1]))
        elif text == STDIN:
            inputs.photographs.append(Source("stdin", "stdin", content=Given(stdin())))
        else:
            places.append(text)
    ours = frozenset(Path(os.path.realpath(out)) / folder for folder in (*KINDS, *PART_SUFFIXES, LEDGER))
    searches = Searcher(VIDEO_SUFFIXES, recursive, column, ours).search(places)
    if column is not None and not any(search.tables for search in searches):
        raise SettingsError("--column is for Parquet files, and there are none among the inputs")
    inputs.passed_over = list(dict.fromkeys(path for search in searches for path in search.passed_over))
    found = dict[str, Found]()
    for search in searches:
        for one in search.found:
            found.setdefault(one.photograph.where, one)
    taken = [source.name for source in inputs.photographs] + [camera_name(number) for number in inputs.cameras]
    names = _names([one.below for one in found.values()], taken)
    for one, name in zip(found.values(), names, strict=True):
        kind = inputs.videos if _is_video(one.below) else inputs.photographs
        kind.append(Source(one.photograph.where, name, content=one.photograph.content))
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
            if name != STDIN and not CAMERA.fullmatch(name):
                must_be_there(name, "photograph, video", f"{where}:{number}: ")
            inputs.append(name)
    return inputs


def _names(paths: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of outputs, for paths below searched folders: the paths without suffixes.

    The suffix stays where two files differ only in it, such as `a.jpg` and `a.png`.
    """
    files = [PurePath(path) for path in paths]
    bare = [path.with_suffix("") for path in files]
    stems = Counter([*map(str, bare), *taken])
    # A film has a folder of its own name, for its frames: no photograph may have outputs in it.
    folders = {str(parent) for path in files for parent in path.parents} if any(map(_is_video, paths)) else set[str]()
    names = []
    for path, stem in zip(files, bare, strict=True):
        alone = stems[str(stem)] == 1 and not (str(stem) in folders and _is_video(path.name))
        names.append(_fitting(stem if alone else path.with_name(path.name.replace(".", "_"))))
    clash = [name for name, count in Counter([*names, *taken]).items() if count > 1]
    if films := {name for path, name in zip(paths, names, strict=True) if _is_video(path)} | set(taken):
        clash += [name for name in names if not films.isdisjoint(map(str, PurePath(name).parents))]
    if clash:
        same = dict.fromkeys(path for path, name in zip(paths, names, strict=True) if name == clash[0])
        both = f" ({' and '.join(list(same)[:2])}; rename one)" if len(same) > 1 else ""
        raise DatasetError(
            f"two inputs would both be written as {clash[0]!r}{both}; give the folder of both with --recursive, or run "
            "predict once per folder, each with its own --output"
        )
    return names


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)


def _fitting(name: PurePath) -> str:
    """Return the name, shortened if an output's suffix would make it too long for a file."""
    if len(os.fsencode(name.name)) <= LONGEST_NAME - len(LONGEST_SUFFIX):
        return str(name)
    short, digest = name.name, hashlib.sha256(os.fsencode(name.name)).hexdigest()[:8]
    while len(os.fsencode(short)) > LONGEST_NAME - len(LONGEST_SUFFIX) - len(digest) - 1:
        short = short[:-1]
    return str(name.with_name(f"{short}-{digest}"))
