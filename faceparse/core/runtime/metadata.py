"""Metadata of an exported file, the same for all formats. It is checked as a whole, so that other code may trust it."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from faceparse.core.errors import CheckpointError
from faceparse.core.faces.geometry import FaceGeometry, read_geometry
from faceparse.core.images.crop import Fit
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.runtime.kinds import Kind, Sizes
from faceparse.core.settings import Settings
from faceparse.core.text.shapes import explain
from faceparse.core.text.toml_json import parse_json


def _line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError(f"is one line of printable letters, not {text[:100]!r}")
    return text


Line = Annotated[str, Field(max_length=1000), AfterValidator(_line)]
"""Text of one line, as a card and a terminal can show it."""

Epoch = Annotated[int, Field(ge=0, le=10**9)]
Scores = dict[str, Annotated[float, Field(allow_inf_nan=False)]]

LAYOUT = "layout"
"""Key of a file that has the inputs and outputs of another program's model; such a file has no other key of ours."""

_PLAIN = ("faceparse", "kind", "channel_order", "sizes", "fit", "licence")
"""Keys whose value is plain text; all others hold JSON."""


def _geometry(value: Any) -> FaceGeometry | None:
    try:
        return value if isinstance(value, FaceGeometry) else read_geometry(value)
    except (TypeError, OverflowError, IndexError, RuntimeError) as error:  # a checkpoint's may be any tensor
        raise ValueError(str(error)) from None


Geometry = Annotated[FaceGeometry | None, BeforeValidator(_geometry)]


class Foreign(BaseModel):
    """Origin of a network that others trained, and that `faceparse import` took over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Line
    """Name of the network, as its description has it."""
    source: Line | None = None
    """Where it is from, such as a link."""
    file: Line
    """Name of its file."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of that file."""
    output: Line
    """Name of the output that holds the parsing."""


class ExportedMetadata(BaseModel):
    """The keys that `faceparse export` and `faceparse import` write and that readers need."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    faceparse: str
    """Version of faceparse that wrote the file."""
    kind: Kind
    label_set: LabelSet
    settings: Settings
    """Settings of the training; for a `foreign` network, only those that `faceparse import` set say something."""
    channel_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: tuple[int, int]
    sizes: Sizes = "fixed"
    """Old files lack it: they are fixed."""
    names_are_known: bool = True
    epoch: Epoch | None
    scores: Scores
    geometry: Geometry = None
    fit: Fit = "crop"
    largest_batch: Annotated[int, Field(ge=1)] | None = None
    """Most crops at a time that the graph takes; None where it takes any number."""
    foreign: Foreign | None = None
    """Origin of a network that faceparse did not train, else None."""
    licence: str | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for key in ("channel_order", "mean", "std", "input_size"):
            if getattr(self, key) != getattr(self.settings.data, key):
                raise ValueError(f"{key} is not that of settings")
        return self


def read_metadata_of(where: object, metadata: Mapping[str, str]) -> ExportedMetadata:
    """Check the metadata of an exported file.

    Args:
        where: name of the file in errors.

    Raises:
        CheckpointError: the file was not written by `faceparse export`, is of another version, or is damaged.
    """
    if LAYOUT in metadata:
        raise CheckpointError(
            f"{where}: has the layout {metadata[LAYOUT][:40]!r} of other programs; give the checkpoint that it is from"
        )
    if "faceparse" not in metadata:
        raise CheckpointError(f"{where}: was not written by this 'faceparse export'; export the checkpoint again")
    known = {key: text for key, text in metadata.items() if key in ExportedMetadata.model_fields}
    for key, field in ExportedMetadata.model_fields.items():
        if field.is_required() and key not in known:
            raise CheckpointError(f"{where}: its metadata lacks {key!r}; export the checkpoint again")
    try:
        return ExportedMetadata.model_validate(
            {key: text if key in _PLAIN else _json(key, text) for key, text in known.items()}
        )
    except ValidationError as error:
        reason = explain(error)
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise CheckpointError(
        f"{where}: its metadata is of another faceparse or damaged ({reason}); export the checkpoint again"
    ) from None


def _json(key: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{key}: {str(error)[:100]}") from None
