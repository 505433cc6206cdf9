"""Write checkpoints, each whole or not at all. A run keeps the newest and one older."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from faceparse.core.errors import CheckpointError, first_line
from faceparse.core.files.flushing import flush_file, flush_folder
from faceparse.core.files.writing import write_atomic_with
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.runs.directory import LAST, PREVIOUS, SETTINGS_FILE
from faceparse.core.training.state import read_training_state


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that `path` always holds a whole one.

    Raises:
        OutputError: the file cannot be written; `path` still holds its earlier content.
    """
    write_atomic_with(path, lambda file: _write(file, content))
    flush_folder(path.parent)


def save_last(folder: Path, content: Mapping[str, Any]) -> None:
    """Write last.pth, and keep the one before as previous.pth. last.pth is whole at every moment.

    Raises:
        OutputError: the file cannot be written; both files are unchanged.
    """

    def write(file: BinaryIO) -> None:
        _write(file, content)
        _keep_previous(folder)  # replace the oldest only when the new one is whole

    write_atomic_with(folder / LAST, write)
    flush_folder(folder)


def _keep_previous(folder: Path) -> None:
    last, spare = folder / LAST, folder / f".{PREVIOUS}.link"
    if not last.exists():
        return
    spare.unlink(missing_ok=True)
    try:
        os.link(last, spare)
    except OSError:  # some file systems have no links
        shutil.copyfile(last, spare)
    spare.replace(folder / PREVIOUS)


def _write(file: BinaryIO, content: Mapping[str, Any]) -> None:
    try:
        torch.save(dict(content), file)
    except RuntimeError as error:  # so the archive writer reports a full disk
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        raise cause or OSError(f"{first_line(error, 120)} (is the disk full?)") from error
    flush_file(file)


def read_last(folder: Path, *, warn: Callable[[str], None]) -> Checkpoint:
    """Read the newest checkpoint that a run can go on from. Where it is broken, warn and read the older one.

    Raises:
        CheckpointError: there is no checkpoint, or none can be read.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    if not last.exists() and not previous.exists():
        raise CheckpointError(
            f"{last}: no such checkpoint; the run was stopped before its first, start it anew: "
            f"faceparse train {folder / SETTINGS_FILE}"
        )
    try:
        return _resumable(last)
    except CheckpointError as error:
        if not previous.exists():
            raise
        warn(f"{error}; going on from the older {PREVIOUS}")
        return _resumable(previous)


def _resumable(path: Path) -> Checkpoint:
    checkpoint = read_checkpoint(path)
    if checkpoint.training is None:
        raise CheckpointError(f"{path}: holds no training state, as best.pth does; put {PREVIOUS} in its place")
    read_training_state(checkpoint.training, path)
    return checkpoint
