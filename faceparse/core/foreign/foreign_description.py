"""Description of a foreign network, as its TOML file has it: classes in their order, input and output."""

import reprlib
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from faceparse.core.errors import SettingsError
from faceparse.core.images.crop import Fit
from faceparse.core.labels.label_set import LabelSet, get_label_set, nearest
from faceparse.core.runtime.metadata import Line
from faceparse.core.settings import PositiveTriple, Settings, Size, Triple
from faceparse.core.text.paths import path_problem
from faceparse.core.text.toml_json import read_toml

Values = Literal["logits", "probabilities", "ids"]


class _Table(BaseModel):
    # The text under a field is its help in error messages.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Input(_Table):
    """How a photograph becomes the input."""

    name: Line | None = None
    """Name of the input. Default: the only one that the file has."""
    size: Size
    """Two whole numbers, height and width, such as [512, 512]."""
    fit: Fit
    """How a photograph fills the input."""
    channel_order: Literal["rgb", "bgr"]
    scale: float
    """Number that white has before `mean` is subtracted: 1 or 255."""
    mean: Triple
    """Three numbers that are subtracted from the channels, in the channels' order, on the scale of input.scale."""
    std: PositiveTriple
    """Three numbers above 0 that the channels are then divided by, in the channels' order, on the same scale."""

    @field_validator("scale")
    @classmethod
    def _white(cls, scale: float) -> float:
        if scale not in (1, 255):
            raise ValueError(
                "what white is before mean and std, 1 or 255; x / 127.5 - 1 is scale = 1.0 with mean and std of 0.5"
            )
        return scale

    @model_validator(mode="after")
    def _one_scale(self) -> Self:
        """Numbers of one scale with the other one give pictures that are almost even, and answers all the same."""
        largest = max(map(abs, self.mean))
        if largest > self.scale:
            raise ValueError(f"mean has {largest:g}, where white is {self.scale:g}; give scale and mean on one scale")
        if self.scale > 1 and 0 < largest <= 1:
            raise ValueError(
                f"mean is {largest:g} at most, where white is {self.scale:g}; give scale and mean on one scale"
            )
        if not all(one / self.scale for one in self.std):
            raise ValueError(f"std has {min(self.std):g}, which is too small a number")
        return self


class Output(_Table):
    """Which output holds the parsing, and what its numbers are."""

    name: Line | None = None
    """Name of the output that holds the parsing."""
    position: Annotated[int, Field(ge=1)] | None = None
    """Position of the output in the file, from 1, where its name is not known."""
    values: Values
    """Kind of its numbers."""
    stride: Annotated[int, Field(ge=1, le=64)]
    """Pixels of the input along one side of a cell of the output, a whole number from 1 to 64."""

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
    """The table [input]."""
    output: Output
    """The table [output]."""
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
    if left := list(_left_open(content)):
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise SettingsError(f"{where}: {left[0]!r}{more} still is '?'; replace every '?' by what the network has")
    content = dict(content)
    if isinstance(name := content.get("label_set"), str):
        try:
            content["label_set"] = get_label_set(str(folder / name) if name.endswith(".toml") else name)
        except SettingsError as error:
            raise SettingsError(f"{where}: {error}") from None
    elif name is not None:
        raise SettingsError(f"{where}: label_set: give the name of a label set, or its TOML file")
    try:
        return Description.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_reason(error, content)}") from None


def _left_open(table: Mapping[str, Any]) -> Iterator[str]:
    """Keys whose values still hold the template's `?`."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in _left_open(value))
        elif value == "?" or (isinstance(value, list) and "?" in value):
            yield key


def _reason(error: ValidationError, content: Mapping[str, Any]) -> str:
    """The first mistake in plain words. A mistyped key is also a missing one: the typed one is named first."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # of the whole: it names its key itself
        return message
    path = [str(part) for part in first["loc"]]
    section = path[0] if path[0] in _TABLES and len(path) > 1 else ""
    known = _TABLES.get(section, Description).model_fields
    if first["type"] == "extra_forbidden":
        table = content[section] if section else content
        missing = [key for key in known if isinstance(table, Mapping) and key not in table]
        close = nearest(path[-1], missing) or nearest(path[-1], known) or f"; the keys are {', '.join(known)}"
        return f"unknown key {'.'.join(path)[:100]!r}{close}"
    if section == "files":
        return f"{'.'.join(path)}: {message}"
    own = path[: 1 + bool(section)]  # without the place in a list
    key = ".".join(own)
    if first["type"] == "value_error":
        return f"{key}: {message}"
    told = _help(known[own[-1]].description) or message
    if first["type"] == "missing" and path == own:
        return f"{key!r} is missing; {told}"
    if first["type"] == "literal_error":
        told = f"give {first['ctx']['expected']}"
    return f"{key} = {_SHORT.repr((content[section] if section else content)[own[-1]])}: {told}"


_TABLES: dict[str, type[BaseModel]] = {"input": Input, "output": Output, "files": KnownFile}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def _help(text: str | None) -> str:
    """First sentence of a field's help, as the rest of a line."""
    sentence = (text or "").split(". ")[0].removesuffix(".")
    return sentence[:1].lower() + sentence[1:]
