"""Tells what a model's file holds by its first bytes, without PyTorch and without loading the network."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

from faceparse.core.errors import CheckpointError

_POINTER = b"version https://git-lfs.github.com/spec/"


def must_be_a_model(path: Path, where: str) -> None:
    """Refuse files that a download may leave in a model's place.

    Args:
        where: name of the file in errors.

    Raises:
        CheckpointError: it is a web page or a Git LFS pointer, or cannot be read.
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
    """Read the metadata in a safetensors file's header.

    Raises:
        safetensors' own errors: it is not such a file, or it is damaged.
    """
    with safe_open(str(path), framework="np") as file:
        return file.metadata() or {}
