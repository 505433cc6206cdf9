"""Check that a bundle is as it was exported: SHA256SUMS, as `sha256sum --check` reads it."""

import hashlib
from pathlib import Path

from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import refuse_other_files, write_atomic

MODEL = "model"
"""Beginning of the name of the network's file. The ending is the format's."""
SUMS = "SHA256SUMS"
BUNDLE = "bundle"
"""Name of the bundle's folder within a registered model."""

PROGRAM, MODULES = "run.py", "runtime.zip"
"""Names of a bundle's program for people, and of its code. Faceparse itself never runs them."""

_BESIDE = (".txt", ".md", ".json", ".toml", ".bin")
"""Suffixes of files beside the model: texts, and the weights that a model of OpenVINO keeps beside it."""

COPY_AGAIN = "copy the bundle again"


def is_bundle(folder: Path) -> bool:
    """Whether the folder holds SHA256SUMS."""
    return (folder / SUMS).is_file()


def write_sums(folder: Path) -> None:
    """Write the checksums of all files in the folder."""
    sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    write_atomic(folder / SUMS, "".join(sums).encode())


def check_sums(folder: Path, *, where: str | None = None, fix: str = COPY_AGAIN) -> Path:
    """Check every file of a bundle, and return the path of its model.

    The program may be missing: it is not downloaded from a hub.

    Args:
        where, fix: name of the folder in errors, and the advice in errors.

    Raises:
        CheckpointError: a file is missing or was changed, or none is a model.
    """
    model: Path | None = None
    name = where or str(folder)
    if not is_bundle(folder):
        raise CheckpointError(f"{name}/{SUMS}: is missing from the bundle; {fix}")
    for file, expected in listed_files(folder).items():
        path = folder / file
        if file in (PROGRAM, MODULES) and not path.exists():
            continue
        try:
            found = sha256(path)
        except DatasetError:
            raise CheckpointError(f"{name}/{path.name}: is missing from the bundle; {fix}") from None
        if found != expected:
            raise CheckpointError(f"{name}/{path.name}: was changed since it was exported (SHA-256 differs); {fix}")
        if path.name.startswith(MODEL) and path.suffix not in _BESIDE:
            if model is not None:
                raise CheckpointError(f"{name}/{SUMS}: names two models, {model.name} and {path.name}; {fix}")
            model = path
    if model is None:
        raise CheckpointError(f"{name}/{SUMS}: names no model; export the bundle again")
    return model


def refuse_other_than_bundle(folder: Path) -> None:
    """Check that a folder can be replaced by a bundle: that it is new or empty, or holds an earlier bundle alone.

    Raises:
        OutputError: it holds something else, which would be lost.
    """
    refuse_other_files(folder, {SUMS, *listed_files(folder)} if is_bundle(folder) else ())


def listed_files(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of each file that a bundle lists. The file itself may be missing."""
    lines = [line.partition("  ") for line in read_bytes(folder / SUMS).decode("utf-8", "replace").splitlines()]
    return {Path(name).name: expected for expected, _, name in lines}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        if path.exists() and not path.is_file():  # reading a device would never end
            raise DatasetError(f"cannot read {path}: no regular file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        raise DatasetError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
