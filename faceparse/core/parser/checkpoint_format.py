"""Pack the content of our checkpoints for writing; unpack and check it after reading."""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Strict, ValidationError
from torch import Tensor

from faceparse.core.errors import CheckpointError, FaceparseError
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.runtime.metadata import Epoch, Geometry, Scores
from faceparse.core.settings import Settings, settings_from_dict, to_dict
from faceparse.core.text.shapes import explain

FORMAT = "faceparse-checkpoint"
VERSION = 1
"""The only version that is written and read."""


def pack(
    model: ParsingModel,
    *,
    settings: Settings,
    label_set: LabelSet,
    epoch: int,
    scores: Mapping[str, float],
    run_id: str | None,
    tracking_uri: str | None,
    geometry: FaceGeometry | None = None,
    training: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A checkpoint's content: tensors and plain containers only, so that `weights_only=True` reads it back.

    Args:
        training: optimizer, schedule and everything else that a resumed run needs; None where no run is resumed.
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
        "geometry": geometry.to_dict() if geometry is not None else None,
        **({"training": dict(training)} if training is not None else {}),
    }


class CheckpointContent(BaseModel):
    """Keys of a checkpoint. The settings are checked elsewhere, since their errors have texts of their own."""

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    settings: dict[str, Any]
    label_set: Annotated[LabelSet, Strict(False)]
    model: dict[str, Tensor]
    epoch: Epoch
    scores: Scores
    run_id: str | None
    tracking_uri: str | None
    geometry: Geometry = None
    training: dict[str, Any] | None = None
    """Checked by the code that resumes a run, since it depends on the training."""


def is_packed(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is one of our checkpoints, of any version."""
    said = content.get("format")  # a tensor would be compared element by element
    return isinstance(said, str) and said == FORMAT


def unpack(path: Path, content: Mapping[str, Any]) -> tuple[CheckpointContent, Settings]:
    """Check and return the parts that `pack` put into a checkpoint, but do not check that its tensors are plain.

    Raises:
        CheckpointError: the checkpoint has another version, is damaged, or has unknown settings.
    """
    version = content.get("version")
    if not isinstance(version, int) or version != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint version {reprlib.repr(version)}, this faceparse reads version {VERSION}"
        )
    try:
        said = CheckpointContent.model_validate(
            {key: content[key] for key in CheckpointContent.model_fields if key in content}
        )
        settings = settings_from_dict(content.get("settings", {}))
    except ValidationError as error:
        raise CheckpointError(f"{path}: damaged checkpoint, {explain(error)}; copy it again") from None
    except FaceparseError as error:
        raise CheckpointError(
            f"{path}: written by another faceparse, whose settings this one does not know ({error})"
        ) from None
    return said, settings
