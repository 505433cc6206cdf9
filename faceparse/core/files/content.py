"""What a model's file holds, as far as its beginning tells: without PyTorch, and without loading the network."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

from faceparse.core.errors import CheckpointError

_POINTER = b"version https://git-lfs.github.com/spec/"


def must_be_a_model(path: Path, where: str) -> None:
    """Refuse what downloads leave in a model's place. `where` is what errors call the file.

    Raises:
        CheckpointError: a web page, a Git LFS pointer, or a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read ({error.strerror or error})") from None
    if start.startswith(_POINTER):
        raise CheckpointError(f"{where}: a Git LFS pointer, not the model itself; run 'git lfs pull' where it is from")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        raise CheckpointError(f"{where}: a web page, not a model; download the file itself")


def read_safetensors_metadata(path: Path) -> Mapping[str, str]:
    """What a safetensors file says of itself.

    Raises:
        safetensors' own errors: it is none, or damaged.
    """
    with safe_open(str(path), framework="np") as file:
        return file.metadata() or {}
