"""An ensemble: a folder with ensemble.json, which names the checkpoints of its networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field

from faceparse.core.errors import CheckpointError, DatasetError
from faceparse.core.files.reading import open_regular
from faceparse.core.images.warp import Size
from faceparse.core.model.ensemble import Ensemble
from faceparse.core.parser.checkpoint_file import Checkpoint, load_model, read_checkpoint
from faceparse.core.parser.trained import ParsingNetwork, TrainedModel
from faceparse.core.runtime.checksums import sha256
from faceparse.core.settings import INPUT, Settings
from faceparse.core.text.paths import leads_out
from faceparse.core.text.shapes import parse_json_as

MOST = 50
"""Most networks of an ensemble."""
_LARGEST = 2**20
"""Bytes of the largest ensemble.json that is read."""


class _Member(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, Field(min_length=1, max_length=1024)]
    """Path of the checkpoint below the folder."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class EnsembleFile(BaseModel):
    """Content of ensemble.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: Annotated[tuple[_Member, ...], Field(min_length=1, max_length=MOST)]
    run_id: Annotated[str, Field(max_length=1024)] | None = None
    """MLflow run that evaluations of the ensemble go to."""
    tracking_uri: Annotated[str, Field(max_length=4096)] | None = None


@dataclass(frozen=True, kw_only=True)
class EnsembleModel(TrainedModel):
    """Several checkpoints as one model, which answers with the mean of their probabilities.

    `path` is its ensemble.json. It takes the time and the memory of all its networks together.
    """

    members: tuple[Checkpoint, ...]

    @property
    def names_are_known(self) -> bool:
        """Whether the label set was written with the weights of all networks."""
        return all(member.names_are_known for member in self.members)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of all its networks."""
        return tuple(member.path for member in self.members)

    def network(self, device: torch.device, input_size: Size | None = None) -> ParsingNetwork:
        """The networks as one, in eval mode on `device`, with their preprocessing; `input_size` replaces their own."""
        data = self.settings.data
        if input_size is not None:
            data = data.model_copy(update={"input_size": input_size})
        ensemble = Ensemble([load_model(member, device) for member in self.members])
        return ParsingNetwork(ensemble, data).to(device).eval()


def describe_ensemble(
    folder: Path, members: Sequence[Path], *, run_id: str | None = None, tracking_uri: str | None = None
) -> bytes:
    """Content of an ensemble.json in `folder`, for checkpoints in that folder."""
    named = [_Member(file=path.relative_to(folder).as_posix(), sha256=sha256(path)) for path in members]
    content = EnsembleFile(members=tuple(named), run_id=run_id, tracking_uri=tracking_uri)
    return content.model_dump_json(indent=1, exclude_none=True).encode()


def read_ensemble(path: Path) -> EnsembleModel:
    """Read an ensemble from its ensemble.json.

    Raises:
        CheckpointError: it is damaged, a checkpoint is missing or another one, or the networks do not fit together.
    """
    content = _read(path)
    members = tuple(_read_member(path, member) for member in content.members)
    first = members[0]
    for member in members[1:]:
        if problem := _difference(first, member):
            raise CheckpointError(f"{path}: {member.path} and {first.path} have {problem}; an ensemble needs the same")
    return EnsembleModel(
        path=path,
        settings=_shared(first.settings),
        label_set=first.label_set,
        run_id=content.run_id,
        tracking_uri=content.tracking_uri,
        geometry=first.geometry,
        members=members,
    )


def _read(path: Path) -> EnsembleFile:
    try:
        with open_regular(path) as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError("larger than any ensemble's")
        return parse_json_as(EnsembleFile, text)
    except (DatasetError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not an ensemble's file ({error}); copy the folder again") from None


def _read_member(path: Path, member: _Member) -> Checkpoint:
    file = path.parent / member.file
    if leads_out(path.parent, member.file) or "\0" in member.file:
        raise CheckpointError(f"{path}: {member.file!r} lies outside the ensemble's folder; copy the file into it")
    if not file.is_file():
        raise CheckpointError(f"{path}: {file} is missing; copy the whole folder")
    if sha256(file) != member.sha256:
        raise CheckpointError(
            f"{path}: {file} is another checkpoint than when the ensemble was made; copy it again, or make the "
            f"ensemble again: faceparse train --resume {path.parent}"
        )
    return read_checkpoint(file)


def _difference(first: Checkpoint, other: Checkpoint) -> str | None:
    """Line on what keeps two networks from answering as one; None where nothing does."""
    if first.label_set != other.label_set:
        return f"other classes ({first.label_set.name}, {other.label_set.name})"
    ours, theirs = first.settings.data, other.settings.data
    different = [key for key in INPUT if getattr(ours, key) != getattr(theirs, key)]
    return f"other data.{different[0]}" if different else None


def _shared(settings: Settings) -> Settings:
    """Settings of a network, without the fold that it was trained on."""
    return settings.model_copy(update={"data": settings.data.model_copy(update={"fold": None})})
