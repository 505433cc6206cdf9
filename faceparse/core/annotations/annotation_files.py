"""Reads files of annotation tools. The content tells which tool's a file is, not its name."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

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
    try:
        stat = path.stat()
    except OSError:
        return _read(path, 0, 0)  # says why
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, size: int) -> list[AnnotatedPhotograph]:
    """Read a file, and keep it for the next photograph in it; another date or size means another content."""
    if size > LARGEST:
        raise DatasetError(f"{path}: larger than {LARGEST >> 20} MiB; export it in parts")
    data = read_bytes(path)
    try:
        return _parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a text file in UTF-8; export it again") from None
    except ValidationError as error:
        raise DatasetError(f"{path}: {explain(error)}; export it again") from None
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


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
