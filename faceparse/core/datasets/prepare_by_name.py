"""Prepare a raw dataset by the name of its source, with options by their names."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from faceparse.core.datasets.celebamask_hq import CelebAMaskHQ
from faceparse.core.datasets.fasseg import Fasseg
from faceparse.core.datasets.folder import Folder
from faceparse.core.datasets.helen import Helen
from faceparse.core.datasets.ibugmask import IBugMask
from faceparse.core.datasets.lapa import Lapa
from faceparse.core.datasets.prepare import prepare, unpacked_folder
from faceparse.core.datasets.prepare_report import PrepareReport
from faceparse.core.datasets.prepare_shards import loose_folder, prepare_shards
from faceparse.core.datasets.source import Source
from faceparse.core.datasets.synthetic import Synthetic
from faceparse.core.errors import SettingsError
from faceparse.core.faces.alignment import Alignment, make_alignment
from faceparse.core.labels.label_set import get_label_set, nearest
from faceparse.core.labels.mapping import read_mapping
from faceparse.core.machine.parallel import Track, default_processes, untracked

ALIGNMENT = ("align", "size", "template", "on_missing")
"""Options of the sources whose faces can be aligned."""
FILES = "files"
"""Default of the option `to`: a file for each photograph and label. Otherwise it is a kind of shards."""
LIMITS: dict[str, tuple[float, float]] = {
    "val": (0, 0.9),
    "test": (0, 0.9),
    "seed": (0, float("inf")),
    "count": (3, float("inf")),
    "size": (32, 4096),
    "processes": (1, float("inf")),
}
"""Least and largest value of an option that is a number."""
_FRACTIONS = ("val", "test")


@dataclass(frozen=True)
class SourceKind:
    """A source that has a name."""

    make: Callable[..., Source]
    """Its class. What it takes by keyword are options."""
    align: str | None = "none"
    """Default of the option `align`; None where faces are not aligned."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Options whose default the class leaves open."""

    @property
    def has_raw(self) -> bool:
        """Whether it reads a folder or an archive."""
        return "raw" in inspect.signature(self.make).parameters

    @property
    def own_options(self) -> list[str]:
        """Options that its class takes."""
        parameters = inspect.signature(self.make).parameters.values()
        return [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

    @property
    def options(self) -> list[str]:
        """All of its options."""
        return [*self.own_options, *(ALIGNMENT if self.align is not None else ()), "to", "processes"]

    @property
    def required(self) -> list[str]:
        """Options that have no default."""
        parameters = inspect.signature(self.make).parameters
        empty = [name for name in self.own_options if parameters[name].default is inspect.Parameter.empty]
        return [name for name in empty if name not in self.defaults]


SOURCES = {
    "helen": SourceKind(Helen, align="auto"),
    "lapa": SourceKind(Lapa),
    "celebamask-hq": SourceKind(CelebAMaskHQ),
    "ibugmask": SourceKind(IBugMask, align="auto", defaults={"label_set": "ibugmask"}),
    "fasseg": SourceKind(Fasseg),
    "folder": SourceKind(Folder),
    "synthetic": SourceKind(Synthetic, align=None),
}


def prepare_by_name(
    name: str, raw: Path | None, out: Path, options: Mapping[str, Any], *, track: Track = untracked
) -> PrepareReport:
    """Write a raw dataset to `out` in the canonical layout.

        prepare_by_name("lapa", Path("LaPa.zip"), Path("dataset/LaPa"), {"align": "landmarks"})

    Args:
        name: name of the source, one of `SOURCES`.
        raw: folder or archive of the raw dataset; None for drawn faces.
        options: options of the source by name, as those of `faceparse prepare NAME`. None stands for the default.

    Raises:
        SettingsError: no such source, an option that it does not take, or a bad value.
        DatasetError, OutputError: as `prepare`.
    """
    kind = _kind(name)
    if kind.has_raw != (raw is not None):
        wanted = "the raw dataset and the folder to write" if kind.has_raw else "only the folder to write"
        raise SettingsError(f"prepare {name}: name {wanted}")
    given = {key: value for key, value in options.items() if value is not None}
    _check_options(name, kind, given)
    alignment = _alignment(given, kind.align) if kind.align is not None else None
    own = {key: _read(key, value) for key, value in {**kind.defaults, **given}.items() if key in kind.own_options}
    archive = raw if raw is not None and raw.is_file() else None
    to = given.get("to", FILES)
    unpacked = unpacked_folder(out if to == FILES else loose_folder(out))
    source = kind.make(*([] if raw is None else [unpacked if archive else raw]), **own)
    write = prepare if to == FILES else partial(prepare_shards, to=to)
    processes = given.get("processes") or default_processes()
    return write(source, out, alignment=alignment, archive=archive, processes=processes, track=track)


def _kind(name: str) -> SourceKind:
    if not isinstance(name, str) or name not in SOURCES:
        close = nearest(str(name), SOURCES)
        raise SettingsError(f"prepare {name}: no such source; there is {', '.join(SOURCES)}{close}")
    return SOURCES[name]


def _check_options(name: str, kind: SourceKind, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if option not in kind.options:
            known = nearest(option, kind.options) or f"; it has {', '.join(kind.options)}"
            raise SettingsError(f"prepare {name}: has no option {option!r}{known}")
        if option in LIMITS:
            _check_number(option, value)
    if missing := [option for option in kind.required if option not in given]:
        raise SettingsError(f"prepare {name}: needs the option {missing[0]!r}")


def _check_number(option: str, value: object) -> None:
    least, largest = LIMITS[option]
    kinds = int | float if option in _FRACTIONS else int
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= largest:
        limits = f"{least} or more" if largest == float("inf") else f"{least} to {largest}"
        raise SettingsError(
            f"{option} = {value!r}: give {'a number' if option in _FRACTIONS else 'a whole number'}, {limits}"
        )


def _read(option: str, value: Any) -> Any:
    """The value as the source takes it: label sets and mappings are named by a text."""
    if option == "label_set":
        return get_label_set(str(value))
    if option in ("annotations", "ignored", "splits", "group"):  # from Python, a number or a path
        return str(value)
    return read_mapping(Path(value)) if option == "mapping" else value


def _alignment(given: Mapping[str, Any], default: str) -> Alignment | None:
    align = given.get("align", default)
    if align != "none":
        return make_alignment(
            align,
            size=given.get("size", 473),
            template=str(given.get("template", "farl")),
            on_missing=given.get("on_missing", "identity"),
        )
    if useless := [option for option in ALIGNMENT[1:] if option in given]:
        option = f"--{useless[0].replace('_', '-')}"
        raise SettingsError(f"{option}: has no effect without alignment; add --align auto, or leave it out")
    return None
