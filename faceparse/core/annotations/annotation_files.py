"""Reads files of annotation tools. The content tells which tool's a file is, not its name."""

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pydantic import ValidationError

from faceparse.core.annotations.coco import is_coco, read_coco
from faceparse.core.annotations.cvat import parse_xml, read_cvat
from faceparse.core.annotations.label_studio import is_label_studio, read_label_studio
from faceparse.core.annotations.labelme import is_labelme, read_labelme
from faceparse.core.annotations.regions import AnnotatedPhotograph
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.text.shapes import explain
from faceparse.core.text.toml_json import parse_json

LARGEST = 2**30
"""Bytes of the largest file. Reading takes some ten times as much memory."""
TOOLS = "LabelMe, COCO, CVAT for images or Label Studio"

_JSON: tuple[tuple[Callable[[Any], bool], Callable[[Any, str], list[AnnotatedPhotograph]]], ...] = (
    (is_labelme, read_labelme),
    (is_coco, read_coco),
    (is_label_studio, read_label_studio),
)


def read_annotations(path: Path) -> list[AnnotatedPhotograph]:
    """Read what a file of an annotation tool says about photographs.

    Raises:
        DatasetError: it cannot be read, is of another tool, or has a bad value.
    """
    return _current(path).photographs


def annotations_of(path: Path, file_name: str) -> Sequence[AnnotatedPhotograph]:
    """Read what a file says about photographs of one file name, in any folders.

    The file that was read last is kept, since it may say something about thousands of photographs.

    Raises:
        DatasetError: as `read_annotations`.
    """
    return _current(path).by_name.get(name_key(file_name), ())


def name_key(name: str) -> str:
    """The file name in a path, as names are compared: accents written in one way, the suffix in small letters."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.rpartition("/")[2]))
    return path.stem + path.suffix.lower()


class _Content(NamedTuple):
    photographs: list[AnnotatedPhotograph]
    by_name: Mapping[str, Sequence[AnnotatedPhotograph]]


def _current(path: Path) -> _Content:
    try:
        stat = path.stat()
    except OSError:
        return _read(path, 0, 0)  # says why
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, size: int) -> _Content:
    """Read a file; another date or size means another content."""
    if size > LARGEST:
        raise DatasetError(f"{path}: larger than {LARGEST >> 20} MiB; export it in parts")
    data = read_bytes(path)
    try:
        photographs = _parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a text file in UTF-8; export it again") from None
    except ValidationError as error:
        raise DatasetError(f"{path}: {explain(error)}; export it again") from None
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
    by_name = defaultdict[str, list[AnnotatedPhotograph]](list)
    for one in photographs:
        for key in {name_key(name) for name in one.file_names}:
            by_name[key].append(one)
    return _Content(photographs, dict(by_name))


def _parse(text: str, where: str) -> list[AnnotatedPhotograph]:
    if text.lstrip()[:1] == "<":
        return read_cvat(parse_xml(text), where)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"not valid JSON or XML ({error}); export it again") from None
    for is_it, read in _JSON:
        if is_it(content):
            return read(content, where)
    keys = ", ".join(list(map(str, content))[:3])[:100] if isinstance(content, dict) else "a list"
    raise ValueError(f"not {TOOLS} ({keys or 'empty'}); export it as one of them")
