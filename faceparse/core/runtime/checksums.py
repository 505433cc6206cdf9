"""Whether a bundle is as it was exported: SHA256SUMS, as `sha256sum --check` reads it."""

import hashlib
from pathlib import Path

from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import write_atomic

MODEL = "model"
"""What the name of the network's file begins with; its ending is the format's."""
SUMS = "SHA256SUMS"
BUNDLE = "bundle"
"""Name of the folder within a registered model."""

COPY_AGAIN = "copy the bundle again"


def is_bundle(folder: Path) -> bool:
    return (folder / SUMS).is_file()


def write_sums(folder: Path) -> None:
    """Of every file that the folder holds."""
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    write_atomic(folder / SUMS, "".join(sums).encode())


def check_sums(folder: Path, *, where: str | None = None, fix: str = COPY_AGAIN) -> Path:
    """The model's file in a bundle of which every file is the one that was exported.

    Args:
        where, fix: what errors call the folder, and what they advise.

    Raises:
        CheckpointError: a file is missing or was changed, or none is a model.
    """
    model: Path | None = None
    name = where or str(folder)
    if not is_bundle(folder):
        raise CheckpointError(f"{name}/{SUMS}: is missing from the bundle; {fix}")
    for file, expected in listed_files(folder).items():
        path = folder / file
        try:
            found = sha256(path)
        except DatasetError:
            raise CheckpointError(f"{name}/{path.name}: is missing from the bundle; {fix}") from None
        if found != expected:
            raise CheckpointError(f"{name}/{path.name}: was changed since it was exported (SHA-256 differs); {fix}")
        if path.name.startswith(MODEL):
            model = path
    if model is None:
        raise CheckpointError(f"{name}/{SUMS}: names no model; export the bundle again")
    return model


def listed_files(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of each file that a bundle lists, whether or not it is there."""
    lines = [line.partition("  ") for line in read_bytes(folder / SUMS).decode("utf-8", "replace").splitlines()]
    return {Path(name).name: expected for expected, _, name in lines}


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # a device would never end
            raise DatasetError(f"cannot read {path}: no regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # a name with a NUL byte
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
