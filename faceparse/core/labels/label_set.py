"""Label sets: the only place that says which id means which part of the face.

Built-in sets are the TOML files in `sets/`; a user's own set is a file of the same form.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from faceparse.core.errors import SettingsError
from faceparse.core.labels.classes import IGNORE, Classes
from faceparse.core.text.paths import path_problem
from faceparse.core.text.toml_json import read_toml


def _colour(text: str) -> str:
    if len(text) != 7 or text[0] != "#" or any(c not in "0123456789abcdef" for c in text[1:].lower()):
        raise ValueError(f"a colour is written like '#ff8000', not {text!r}")
    return text.lower()


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"a name is of printable letters, not {text!r}")
    return text


_Name = Annotated[str, AfterValidator(_printable)]


class LabelSet(Classes, BaseModel):
    """Classes in id order, with everything that depends on their meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    side: Literal["viewer", "subject", "none"]
    """Whose left `left_*` means: the viewer's (left in the image), the subject's (right), or no sides at all."""
    classes: dict[_Name, Annotated[str, AfterValidator(_colour)]]
    """Class name -> colour. A class's id is its position."""
    mirror: tuple[tuple[str, str], ...] = ()
    """Pairs of classes that change places when the image is flipped left to right."""
    merged: dict[_Name, tuple[str, ...]] = {}
    """Name of a score -> classes that it counts as one."""
    landmarks: dict[Literal["eyes", "nose", "mouth"], tuple[str, ...]] = {}
    """Classes whose pixels give the five points of alignment. Two eye classes are in image order, left first."""

    def __eq__(self, other: object) -> bool:
        """Whether both are the same, with the same ids: two dicts are equal in any order, and here the order counts."""
        return isinstance(other, LabelSet) and self.names == other.names and super().__eq__(other)

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if not 2 <= len(self.classes) <= IGNORE:
            raise ValueError(f"a label set has 2 to {IGNORE} classes, not {len(self.classes)}")
        for name in (name for group in self._groups() for name in group):
            if name not in self.classes:
                raise ValueError(f"unknown class {name!r}{nearest(name, self.classes)}")
        if len(set(self.classes.values())) < len(self.classes):
            raise ValueError("two classes have the same colour")
        if shared := self.merged.keys() & self.classes.keys():
            raise ValueError(f"merged score {shared.pop()!r} is named like a class")
        if self.landmarks and set(self.landmarks) != {"eyes", "nose", "mouth"}:
            raise ValueError("landmarks has eyes, nose and mouth, or is left out")
        paired = [name for pair in self.mirror for name in pair]
        if len(paired) != len(set(paired)):
            raise ValueError("a class stands in two mirror pairs")
        return self

    def agrees_with(self, other: "LabelSet") -> bool:
        """Whether every id means the same in both sets: equal names, with left on the same side of the image."""
        turned = {self.side, other.side} == {"viewer", "subject"} and bool(self.mirror or other.mirror)
        return self.names == other.names and not turned

    def _groups(self) -> tuple[tuple[str, ...], ...]:
        return (*self.mirror, *self.merged.values(), *self.landmarks.values())

    def resolve(self, names: Iterable[str], what: str = "class") -> tuple[int, ...]:
        """Ids of classes and of merged names such as `mouth`, each once.

        Args:
            what: word for a name in errors.

        Raises:
            SettingsError: there is no such class.
        """
        known = {name: (name,) for name in self.names} | self.merged
        names = list(names)
        for name in names:
            if name not in known:
                raise SettingsError(f"{what} {name!r}: not in {self.name} ({', '.join(known)}){nearest(name, known)}")
        return self.ids(dict.fromkeys(part for name in names for part in known[name]))

    def mirror_table(self) -> np.ndarray:
        """Table of 256 uint8: `table[label]` swaps left and right classes, for a mirrored image."""
        table = np.arange(256, dtype=np.uint8)
        for pair in self.mirror:
            left, right = self.ids(pair)
            table[left], table[right] = right, left
        return table

    def to_toml(self) -> dict[str, Any]:
        """Content of the set's TOML file, as a dict."""
        return self.model_dump(mode="json")


def unknown_values(label: np.ndarray, classes: int) -> list[int]:
    """Values of a uint8 label that are neither a class nor 255."""
    if int((label + np.uint8(1)).max(initial=0)) <= classes:  # one pass: 255 wraps to 0, the classes follow
        return []
    return [int(value) for value in np.unique(label) if classes <= value != IGNORE]


def nearest(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Phrase `; did you mean 'x'?` if a known word is close, else empty. `prefix` is shown, not compared."""
    if len(word) > 100:  # nobody mistyped that
        return ""
    known = list(known)
    turned = [one for one in known if _parts(one) == _parts(word)]  # eye_r for r_eye, before eye_g
    close = turned or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {prefix + close[0]!r}?" if close else ""


def _parts(name: str) -> list[str]:
    return sorted(name.lower().replace("-", "_").replace(" ", "_").split("_"))


def label_set_from_dict(data: Mapping[str, Any], source: str) -> LabelSet:
    """Label set from the content of its TOML file.

    Args:
        source: name of the file in errors.

    Raises:
        SettingsError: a key is missing, unknown or has a bad value.
    """
    try:
        return LabelSet.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))[:100]
        raise SettingsError(
            f"{source}: {key + ': ' if key else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from None


@cache
def builtin_label_sets() -> dict[str, LabelSet]:
    """Built-in label sets by name."""
    folder = resources.files("faceparse.core.labels") / "sets"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    sets = (label_set_from_dict(tomllib.loads(f.read_text("utf-8")), f.name) for f in files)
    return {label_set.name: label_set for label_set in sets}


def read_label_set(path: Path) -> LabelSet:
    """Read a label set from a TOML file.

    Raises:
        SettingsError: there is no such file, or it is no label set.
    """
    if problem := path_problem(path):
        raise SettingsError(f"label set: {problem}")
    try:
        return label_set_from_dict(read_toml(path), str(path))
    except FileNotFoundError:
        raise SettingsError(f"label set {path}: no such file; built in are {', '.join(builtin_label_sets())}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not a TOML file ({error}); a label set has name, side and [classes]") from None


def get_label_set(name: str) -> LabelSet:
    """Return a built-in set by its name, or read a user's own set by the path of its TOML file.

        get_label_set("helen").names

    Raises:
        SettingsError: there is no such set.
    """
    if name in builtin_label_sets():
        return builtin_label_sets()[name]
    if name.endswith(".toml"):
        return read_label_set(Path(name))
    known = builtin_label_sets()
    raise SettingsError(
        f"label set {name!r} is not built in{nearest(name, known)} (built in: {', '.join(known)}; or give a .toml file)"
    )


# Class names that other projects write in `label_names.txt` for Helen, with ours.
_ALIASES = {
    "bg": "background", "face": "skin", "lb": "left_brow", "rb": "right_brow", "le": "left_eye", "re": "right_eye",
    "ulip": "upper_lip", "imouth": "inner_mouth", "llip": "lower_lip",
}  # fmt: skip


def match_label_names(names: Sequence[str]) -> LabelSet | None:
    """Find the built-in set with exactly these class names in this order; None if there is none."""
    known = builtin_label_sets().values()
    for candidate in (tuple(names), tuple(_ALIASES.get(name, name) for name in names)):
        for label_set in known:
            if label_set.names == candidate:
                return label_set
    return None
