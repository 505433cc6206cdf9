"""Description of a foreign network, as its TOML file has it: classes in their order, input and output."""

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from faceparse.core.errors import SettingsError
from faceparse.core.images.crop import Fit
from faceparse.core.labels.label_set import LabelSet, get_label_set, nearest
from faceparse.core.runtime.metadata import Line
from faceparse.core.settings import PositiveFloat, PositiveTriple, Settings, Size, Triple
from faceparse.core.text.paths import path_problem
from faceparse.core.text.shapes import explain
from faceparse.core.text.toml_json import read_toml

Values = Literal["logits", "probabilities", "ids"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Input(_Table):
    """How a photograph becomes the input."""

    name: Line | None = None
    """Name of the input. Default: the only one that the file has."""
    size: Size
    """Height and width."""
    fit: Fit
    """How a photograph fills the input."""
    channel_order: Literal["rgb", "bgr"]
    scale: PositiveFloat
    """Number that white has before `mean` is subtracted: 1 or 255."""
    mean: Triple
    """Numbers that are subtracted from the channels, in the channels' order."""
    std: PositiveTriple
    """Numbers that the channels are then divided by."""

    @model_validator(mode="after")
    def _finite(self) -> Self:
        if not all(isfinite(one / self.scale) for one in (*self.mean, *self.std)):
            raise ValueError(f"scale = {self.scale}: mean and std are too large for it")
        return self


class Output(_Table):
    """Which output holds the parsing, and what its numbers are."""

    name: Line | None = None
    position: Annotated[int, Field(ge=1)] | None = None
    """Position of the output in the file, from 1, where its name is not known."""
    values: Values
    stride: Annotated[int, Field(ge=1, le=64)]
    """Pixels of the input along one side of a cell of the output."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.name is None) == (self.position is None):
            raise ValueError("give the output's name, or its position from 1")
        return self


class KnownFile(_Table):
    """A file that the description is known to be right for."""

    name: Line
    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Description(_Table):
    """All that faceparse has to be told about a foreign network."""

    name: Line
    """Name of the network, for people."""
    source: Line | None = None
    """Where it is from, such as a link."""
    licence: Line | None = None
    """Terms of use: a name such as `cc-by-4.0`, or a sentence."""
    label_set: LabelSet
    """Meaning of the class names."""
    classes: tuple[str, ...]
    """All classes of the label set, in the order of the output's channels or ids."""
    input: Input
    output: Output
    files: tuple[KnownFile, ...] = ()

    @model_validator(mode="after")
    def _all_classes(self) -> Self:
        known = self.label_set.names
        for name in self.classes:
            if name not in known:
                raise ValueError(f"classes: {name!r} is not in {self.label_set.name}{nearest(name, known)}")
        if twice := [name for name in known if self.classes.count(name) > 1]:
            raise ValueError(f"classes: {twice[0]!r} stands there twice")
        if missing := [name for name in known if name not in self.classes]:
            raise ValueError(
                f"classes: {len(self.classes)} names, {self.label_set.name} has {len(known)}: {missing[0]!r} is missing"
            )
        height, width = self.input.size
        if height % self.output.stride or width % self.output.stride:
            raise ValueError(f"output.stride: {height} x {width} cannot be divided by {self.output.stride}")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channel of the output that holds each class, in the label set's order."""
        return tuple(self.classes.index(name) for name in self.label_set.names)

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the output."""
        height, width = self.input.size
        return height // self.output.stride, width // self.output.stride

    @property
    def settings(self) -> Settings:
        """Settings that say how a picture becomes the input, and nothing else. faceparse divides by 255 first."""
        picture = self.input
        mean, std = (tuple(one / picture.scale for one in numbers) for numbers in (picture.mean, picture.std))
        data = {"input_size": picture.size, "channel_order": picture.channel_order, "mean": mean, "std": std}
        return Settings.model_validate({"data": data})


def read_description(path: Path) -> Description:
    """Read a description from its TOML file. A label set of its own is named by a path beside that file.

    Raises:
        SettingsError: there is no such file, or it is no description; the line names the key.
    """
    if problem := path_problem(path):
        raise SettingsError(f"--describe: {problem}")
    try:
        content = read_toml(path)
    except FileNotFoundError:
        raise SettingsError(
            f"--describe {path}: no such file, and no known network{nearest(str(path), known_descriptions())} "
            f"(known are {', '.join(known_descriptions())})"
        ) from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    return _described(content, str(path), path.parent)


@cache
def known_descriptions() -> dict[str, Description]:
    """Descriptions that come with the package, by their names."""
    folder = resources.files("faceparse.core.foreign") / "known"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=lambda one: one.name)
    return {
        one.name.removesuffix(".toml"): _described(tomllib.loads(one.read_text("utf-8")), one.name, Path())
        for one in files
    }


def _described(content: Mapping[str, Any], where: str, folder: Path) -> Description:
    content = dict(content)
    if isinstance(name := content.get("label_set"), str):
        content["label_set"] = get_label_set(str(folder / name) if name.endswith(".toml") else name)
    elif name is not None:
        raise SettingsError(f"{where}: label_set: give the name of a label set, or its TOML file")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_reason(error)}") from None


def _reason(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] != "extra_forbidden":
        return explain(error)
    *sections, word = (str(part) for part in first["loc"])
    known = _keys(sections)
    close = nearest(word, known) or f"; the keys are {', '.join(known)}"
    return f"unknown key {'.'.join([*sections, word])[:100]!r}{close}"


def _keys(sections: Iterable[str]) -> list[str]:
    """Keys of a table of the description."""
    tables: dict[str, type[BaseModel]] = {"input": Input, "output": Output, "files": KnownFile}
    (section, *_) = (*sections, "")
    return list(tables.get(section, Description).model_fields)
