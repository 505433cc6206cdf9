"""Writing checkpoints: whole or not at all, the newest and one older."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from faceparse.core.errors import CheckpointError
from faceparse.core.files import write_atomic_with
from faceparse.core.labels import LabelSet
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.model.weights import FORMAT, VERSION
from faceparse.core.settings import Settings, to_dict

BEST, LAST, PREVIOUS = "best.pth", "last.pth", "previous.pth"


def pack(
    model: EAGRNet,
    *,
    settings: Settings,
    label_set: LabelSet,
    epoch: int,
    scores: Mapping[str, float],
    run_id: str | None,
    tracking_uri: str | None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Tensors and plain containers only, so that `weights_only=True` reads it back.

    Args:
        training: optimizer, schedule and what else a resumed run needs; None in a checkpoint that is only used.
    """
    return {
        "format": FORMAT,
        "version": VERSION,
        "settings": to_dict(settings),
        "label_set": label_set.to_toml(),
        "model": model.state_dict(),
        "epoch": epoch,
        "scores": dict(scores),
        "run_id": run_id,
        "tracking_uri": tracking_uri,
        **({"training": dict(training)} if training is not None else {}),
    }


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint so that `path` always holds a whole one.

    Raises:
        OutputError: it could not be written; what `path` held before is still there.
    """
    write_atomic_with(path, lambda file: _write(file, content))


def save_last(folder: Path, content: Mapping[str, Any]) -> None:
    """Write last.pth, keeping the one before as previous.pth; there is a whole last.pth at every moment.

    Raises:
        OutputError: it could not be written; both files are what they were.
    """

    def write(file: BinaryIO) -> None:
        _write(file, content)
        _keep_previous(folder)  # only once the new one is whole does the oldest go

    write_atomic_with(folder / LAST, write)


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
    except RuntimeError as error:  # the archive writer's word for a full disk
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        raise cause or OSError(f"{str(error).splitlines()[0][:120]} (is the disk full?)") from error
    file.flush()
    os.fsync(file.fileno())


def read_training_state(path: Path) -> dict[str, Any]:
    """The `training` part of last.pth.

    Raises:
        CheckpointError: it cannot be read, or is a checkpoint without one (best.pth).
    """
    try:
        content: dict[str, dict[str, Any]] = torch.load(path, map_location="cpu", weights_only=True)
        return content["training"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such checkpoint; a run can be resumed from its first finished epoch on"
        ) from None
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be resumed from ({type(error).__name__}); put {PREVIOUS} in its place"
        ) from None
