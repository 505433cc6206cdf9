"""The settings that a sweep varies. Every choice is checked against the settings before anything runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from faceparse.core.errors import SettingsError
from faceparse.core.settings import Settings, keys, override

Value = str | int | float
Params = dict[str, Value]
"""`section.key` -> value, for one trial."""

SHARED = (
    *("train.run_dir", "train.runs_dir", "train.device", "train.best_metric"),
    *("data.val_split", "data.folds", "data.fold", "data.share"),
)
"""Settings that all trials share, as those of [tracking]. Otherwise their scores could not be compared."""


@dataclass(frozen=True)
class Choices:
    """A setting with a list of values."""

    key: str
    values: tuple[str, ...]
    """Values as the user typed them."""

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    def at(self, position: int) -> Value:
        """Value at a position."""
        return self.values[position]

    def has(self, value: Value) -> bool:
        """Whether it is one of the values."""
        return value in self.values


@dataclass(frozen=True)
class IntRange:
    """A setting with a range of whole numbers, both ends included."""

    key: str
    low: int
    high: int
    log: bool

    @property
    def count(self) -> int:
        """Number of values."""
        return self.high - self.low + 1

    def at(self, position: int) -> Value:
        """Value at a position."""
        return self.low + position

    def has(self, value: Value) -> bool:
        """Whether it is one of the values."""
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class FloatRange:
    """A setting with a range of fractions."""

    key: str
    low: float
    high: float
    log: bool

    def has(self, value: Value) -> bool:
        """Whether it lies in the range."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Axis = Choices | IntRange | FloatRange


class Space:
    """All combinations of the values of some settings."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = list(axes)

    @property
    def size(self) -> int | None:
        """Number of combinations; None where a range of fractions makes them endless."""
        counts = [None if isinstance(axis, FloatRange) else axis.count for axis in self.axes]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def at(self, position: int) -> Params:
        """Combination at a position. The space must have an end."""
        params: Params = {}
        for axis in reversed(self.axes):
            assert not isinstance(axis, FloatRange)
            position, index = divmod(position, axis.count)
            params = {axis.key: axis.at(index)} | params
        return params

    def example(self) -> Params:
        """The first value of every setting."""
        return {axis.key: axis.low if isinstance(axis, FloatRange) else axis.at(0) for axis in self.axes}


def parse_space(settings: Settings, over: Iterable[str], shared: Sequence[str] = SHARED) -> Space:
    """Space from texts like `section.key=a,b,c`, `section.key=low..high` or `section.key=low..high:log`.

    Separate values that contain commas by `;`.

        space = parse_space(settings, ["optim.lr=1e-4..1e-2:log", "optim.name=sgd,adamw"])

    Args:
        shared: settings that must not vary.

    Raises:
        SettingsError: an unknown key, a bad value, or a text of another form.
    """
    axes = [_parse(settings, text, shared) for text in over]
    if not axes:
        raise SettingsError("--over: say what to vary, such as --over optim.lr=1e-3,5e-4")
    names = [axis.key for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"--over {name}: given twice; write all of its values in one")
    return Space(axes)


def _parse(settings: Settings, text: str, shared: Sequence[str]) -> Axis:
    key, _, values = (part.strip() for part in text.partition("="))
    if not values:
        raise SettingsError(f"--over {text!r}: write section.key=value,value or section.key=low..high")
    if key in shared or key.startswith("tracking."):
        raise SettingsError(f"--over {key}: all trials share it, or their scores could not be compared")
    kind = keys()[key].annotation if key in keys() else None
    if kind in (int, float) and ".." in values:
        return _parse_range(settings, key, values)
    typed = [value.strip() for value in values.split(";" if ";" in values else ",")]
    found = [_check(settings, key, value) for value in typed]
    for value, one in zip(typed, found, strict=True):
        if found.count(one) > 1:
            raise SettingsError(f"--over {text}: {value} is there twice")
    return Choices(key, tuple(typed))


def _parse_range(settings: Settings, key: str, text: str) -> Axis:
    ends, colon, scale = text.partition(":")
    if colon and scale != "log":
        raise SettingsError(f"--over {key}={text}: write low..high or low..high:log")
    low, _, high = ends.partition("..")
    first, last = _check(settings, key, low), _check(settings, key, high)
    if first >= last:
        raise SettingsError(f"--over {key}={text}: {low} is not below {high}")
    if colon and first <= 0:
        raise SettingsError(f"--over {key}={text}: a log scale begins above 0")
    kind = IntRange if isinstance(first, int) else FloatRange
    return kind(key, first, last, log=bool(colon))


def _check(settings: Settings, key: str, text: str) -> Any:
    """Value that the setting reads from `text`."""
    section, _, name = key.partition(".")
    return getattr(getattr(override(settings, {key: text}, "--over"), section), name)
