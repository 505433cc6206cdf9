"""Mappings from the classes of one label set to those of another: what is renamed, merged, ignored or absent.

They are the only mechanism for this. Labels are mapped by a table of ids, networks by the sums of their classes'
probabilities (`parser/mapped.py`), a classifier's rows by their means (`parser/initialise.py`).

A mapping file has a line `new = ["old", ...]` for each new class, the background first. A table `[SET]` has the lines
of one label set alone. The list `ignored` names classes whose pixels do not count. The built-in files are in
`mappings/`.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.errors import SettingsError
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, builtin_label_sets, label_set_from_dict, nearest
from faceparse.core.text.paths import path_problem
from faceparse.core.text.toml_json import read_toml

IGNORED, NOTE = "ignored", "note"
"""Keys of a mapping file that are no class."""

Groups = Mapping[str, tuple[str, ...]]
"""New class -> old classes."""


@dataclass(frozen=True)
class ClassMapping:
    """Which classes of `source` become which class of `target`."""

    source: LabelSet
    target: LabelSet
    groups: tuple[tuple[int, ...], ...]
    """Ids of `source` for each class of `target`. Empty: `source` has no such class."""
    ignored: tuple[int, ...] = ()
    """Ids of `source` whose pixels do not count."""
    note: str = ""
    """Words on what the sets count differently."""

    @property
    def is_identity(self) -> bool:
        """Whether every class stays what it is."""
        return self.source.names == self.target.names and self.groups == tuple((i,) for i in range(len(self.source)))

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes of `target` that no class of `source` becomes."""
        return tuple(name for name, ids in zip(self.target.names, self.groups, strict=True) if not ids)

    @cached_property
    def table(self) -> np.ndarray:
        """Table of 256 uint8: `table[label]` has the ids of `target`. Ignored pixels stay ignored."""
        table = np.full(256, IGNORE, np.uint8)
        for new, ids in enumerate(self.groups):
            table[list(ids)] = new
        return table

    @property
    def named(self) -> dict[str, list[str]]:
        """Name of each class of `target` -> names of the classes of `source` that become it."""
        names = self.source.names
        return {new: [names[i] for i in ids] for new, ids in zip(self.target.names, self.groups, strict=True)}

    def origins(self) -> str:
        """Phrase for where the classes come from: known ones, mapped ones and new ones."""
        known = [new for new, old in self.named.items() if old == [new]]
        mapped = [f"{new} from {' + '.join(old)}" for new, old in self.named.items() if old not in ([], [new])]
        kinds = {"known": known, "mapped": mapped, "new": self.absent}
        parts = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
        return f"classes of {self.target.name}, {'; '.join(parts)}"

    def merged(self) -> list[str]:
        """Phrases for what cannot be told apart any more, such as `l_ear, r_ear in skin`."""
        phrases = []
        for new, old in self.named.items():
            others = [name for name in old if len(old) > 1 and name != new]
            phrases += [f"{', '.join(others)} in {new}"] if others else []
        dropped = [self.source.names[i] for i in self.ignored]
        return phrases + ([f"{', '.join(dropped)} ignored"] if dropped else [])

    def notes(self) -> list[str]:
        """Lines for readers of the results: what is merged or absent, what the sets count differently."""
        if self.is_identity:
            return []
        names = f"{self.source.name} as {self.target.name}"
        merged = [f"{names}: {'; '.join(self.merged())}"] if self.merged() else []
        absent = [f"{names}: nothing becomes {', '.join(self.absent)}"] if self.absent else []
        return merged + absent + ([self.note] if self.note else [])

    def to_toml(self) -> dict[str, Any]:
        """Content of a mapping file that says the same."""
        content: dict[str, Any] = {new: old for new, old in self.named.items() if old}
        return content | ({IGNORED: [self.source.names[i] for i in self.ignored]} if self.ignored else {})


def identity(label_set: LabelSet) -> ClassMapping:
    """The mapping that changes nothing."""
    return ClassMapping(label_set, label_set, tuple((i,) for i in range(len(label_set))))


@dataclass(frozen=True)
class MappingFile:
    """Content of a mapping file."""

    where: str
    """Path of the file, for errors."""
    name: str
    """Name of the label set that it makes."""
    groups: Groups
    """Lines for label sets without a table of their own."""
    tables: Mapping[str, Groups] = field(default_factory=dict)
    """Label set -> its own lines."""
    notes: Mapping[str, str] = field(default_factory=dict)

    def groups_of(self, label_set: LabelSet) -> Groups:
        """The lines for a label set."""
        return self.tables.get(label_set.name, self.groups)


def read_mapping(path: Path) -> MappingFile:
    """Read a mapping file.

    Raises:
        SettingsError: there is no such file, or it is no mapping.
    """
    if problem := path_problem(path):
        raise SettingsError(f"mapping: {problem}")
    try:
        content = read_toml(path)
    except FileNotFoundError:
        raise SettingsError(f'mapping {path}: no such file; it has lines such as skin = ["skin", "nose"]') from None
    except ValueError as error:
        raise SettingsError(f'{path}: not a TOML file ({error}); it has lines such as skin = ["nose"]') from None
    return mapping_from_dict(content, str(path), path.stem)


def mapping_from_dict(content: Mapping[str, Any], where: str, name: str) -> MappingFile:
    """The mapping file with this content.

    Raises:
        SettingsError: a value is no list of names.
    """
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lines = {"": {key: value for key, value in content.items() if key not in tables}, **tables}
    notes = {key: str(one[NOTE]) for key, one in lines.items() if NOTE in one}
    groups = {key: _groups(one, where, f"[{key}] " if key else "") for key, one in lines.items()}
    return MappingFile(where, name, groups.pop(""), groups, notes)


def _groups(lines: Mapping[str, Any], where: str, table: str) -> Groups:
    groups: dict[str, tuple[str, ...]] = {}
    for key, value in lines.items():
        if key == NOTE:
            continue
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise SettingsError(f'{where}: {table}{key}: a list of class names, such as {key} = ["skin", "nose"]')
        groups[key] = tuple(value)
    return groups


def map_classes(
    file: MappingFile, source: LabelSet, target: LabelSet | None = None, *, partial: bool = False
) -> ClassMapping:
    """The mapping of one label set by a file.

    Args:
        target: label set whose classes are the new ones. Default: the set that the file makes.
        partial: some classes of `source` may be in no list; they are ignored. Then no list names another set's classes.

    Raises:
        SettingsError: a class is in no list, or in two; a new class is not in `target`; a list mixes up left and right.
    """
    groups = {name: old for name, old in file.groups_of(source).items() if name != IGNORED}
    target = target or made_by(file, [source])
    for name in groups:
        if name not in target.classes:
            raise SettingsError(f"{file.where}: {name!r} is no class of {target.name}{nearest(name, target.classes)}")
    lists = {**groups, IGNORED: file.groups_of(source).get(IGNORED, ())}
    if partial or source.name in file.tables:  # else a class that a wrong name leaves out is noticed below
        _must_be_known(file, lists, [source])
    owner: dict[str, str] = {}
    for new, old in lists.items():
        for name in old:
            if owner.setdefault(name, new) != new:
                raise SettingsError(f"{file.where}: {name!r} is in {owner[name]} and in {new}; name it once")
    left_out = [name for name in source.names if name not in owner]
    if left_out and not partial:
        raise SettingsError(
            f"{file.where}: class {left_out[0]!r} of {source.name} is in no list; add it to one, or to {IGNORED} = []"
        )
    mapping = ClassMapping(
        source,
        target,
        tuple(_ids(source, groups.get(name, ())) for name in target.names),
        _ids(source, [*lists[IGNORED], *left_out]),
        file.notes.get(source.name, file.notes.get("", "")),
    )
    _must_keep_sides(file, mapping)
    return mapping


def made_by(file: MappingFile, sources: Sequence[LabelSet]) -> LabelSet:
    """The label set that a file makes of others: one of them or a built-in one if the names are its, else a new one.

    Raises:
        SettingsError: the file has too few classes.
    """
    names = [name for name in file.groups_of(sources[0]) if name != IGNORED]
    for known in (*sources, *builtin_label_sets().values()):
        if list(known.names) == names:
            return known
    if len(names) < 2:
        raise SettingsError(f"{file.where}: {len(names)} new classes; name two at least, the background first")
    source = sources[0]
    groups = [_ids(source, file.groups_of(source)[name]) for name in names]
    new = {old: name for name, ids in zip(names, groups, strict=True) for old in ids}
    landmarks = {
        part: list(dict.fromkeys(name for i in source.ids(old) if (name := new.get(i)) is not None))
        for part, old in source.landmarks.items()
    }
    told = bool(landmarks) and all(landmarks.values())
    mirror = _mirror_of(file, source, new)
    apart = told and len({name for of in landmarks.values() for name in of}) == sum(map(len, landmarks.values()))
    return label_set_from_dict(
        {
            "name": file.name,
            "side": source.side if mirror else "none",
            "classes": dict(zip(names, _colours(source, groups), strict=True)),
            "mirror": mirror,
            "landmarks": landmarks if apart else {},
        },
        file.where,
    )


def _mirror_of(file: MappingFile, source: LabelSet, new: Mapping[int, str]) -> list[tuple[str, str]]:
    """Pairs of new classes that change places when the image is flipped.

    Args:
        new: id of `source` -> new class. Ignored classes are not there.
    """
    flipped = dict(enumerate(source.mirror_table().tolist()))
    seen: dict[str, int] = {}
    for old, name in new.items():
        first = seen.setdefault(name, old)
        partners = {new.get(flipped[one], name) for one in (first, old)}
        if len(partners) > 1:
            raise SettingsError(
                f"{file.where}: {name} has {source.names[first]} and {source.names[old]}, whose mirror images are in "
                f"{' and in '.join(sorted(partners))}; treat left and right alike"
            )
    pairs = [tuple(new.get(i) for i in source.ids(pair)) for pair in source.mirror]
    return list(dict.fromkeys((a, b) for a, b in pairs if a is not None and b is not None and a != b))


def _colours(source: LabelSet, groups: Iterable[Sequence[int]]) -> list[str]:
    """A colour for each group: its first class's, else one of its own."""
    colours: list[str] = []
    for number, ids in enumerate(groups):
        wanted = list(source.classes.values())[ids[0]] if ids else "#000000"
        while wanted in colours:
            number += 1
            wanted = f"#{(number * 0x9E3779B1) & 0xFFFFFF:06x}"
        colours.append(wanted)
    return colours


def _ids(source: LabelSet, names: Iterable[str]) -> tuple[int, ...]:
    """Ids of those names that the set has: a file may serve several sets."""
    return source.ids(dict.fromkeys(name for name in names if name in source.classes))


def _must_be_known(file: MappingFile, groups: Groups, sources: Sequence[LabelSet]) -> None:
    known = {name for source in sources for name in source.names}
    for new, old in groups.items():
        for name in old:
            if name not in known:
                sets = ", ".join(dict.fromkeys(source.name for source in sources))
                raise SettingsError(f"{file.where}: {new}: {name!r} is no class of {sets}{nearest(name, known)}")


def _must_keep_sides(file: MappingFile, mapping: ClassMapping) -> None:
    """Refuse a class of the image's left that becomes one of its right. A swap would give plausible, wrong results."""
    source, target = mapping.source, mapping.target
    for name, ids in zip(target.names, mapping.groups, strict=True):
        sides = {side for i in ids if (side := image_side(source, source.names[i]))}
        wanted = image_side(target, name)
        if wanted and sides and sides != {wanted}:
            (other,) = sides - {wanted} if len(sides) > 1 else sides
            wrong = next(source.names[i] for i in ids if image_side(source, source.names[i]) == other)
            raise SettingsError(
                f"{file.where}: {name} of {target.name} is on the image's {wanted}, {wrong} of {source.name} on its "
                f"{other}; swap them"
            )


def image_side(label_set: LabelSet, name: str) -> str:
    """Side of the image, `left` or `right`, that a class with a mirror partner lies on; empty where it is not known."""
    if label_set.side == "none" or not any(name in pair for pair in label_set.mirror):
        return ""
    word = next((side for side in ("left", "right") if name.lower().startswith((f"{side}_", f"{side[0]}_"))), "")
    if word and label_set.side == "subject":
        return "right" if word == "left" else "left"
    return word


# Mappings that come with the package, and those by equal names.


def known_mapping(source: LabelSet, target: LabelSet) -> ClassMapping | None:
    """The mapping between two sets that needs no file: by their names, built in, or one after the other; else None."""
    if found := _direct(source, target):
        return found
    for middle in builtin_label_sets().values():
        first, second = _direct(source, middle), _direct(middle, target)
        if first and second and not first.absent:
            return chain(first, second)
    return None


def closest_mapping(source: LabelSet, target: LabelSet) -> ClassMapping:
    """The known mapping, else one of the classes that have the same name and side; the others are ignored or absent."""
    if found := known_mapping(source, target):
        return found
    names = _names_in(source, target)
    groups = tuple((names[name],) if name in names else () for name in target.names)
    used = {i for ids in groups for i in ids}
    return ClassMapping(source, target, groups, tuple(i for i in range(len(source)) if i not in used))


def _direct(source: LabelSet, target: LabelSet) -> ClassMapping | None:
    if found := _by_names(source, target):
        return found
    builtin = builtin_label_sets()
    if not all(one.name in builtin and one.agrees_with(builtin[one.name]) for one in (source, target)):
        return None
    file = _builtin_file(target.name)
    return map_classes(file, source, target) if file and source.name in file.tables else None


def _by_names(source: LabelSet, target: LabelSet) -> ClassMapping | None:
    """The mapping of classes to those of the same name and the same side of the image; None if one has no such."""
    names = _names_in(source, target)
    if not names.keys() <= target.classes.keys():
        return None
    return ClassMapping(source, target, tuple((names[name],) if name in names else () for name in target.names))


def _names_in(source: LabelSet, target: LabelSet) -> dict[str, int]:
    """Name that a class of `source` would have in `target`, where left may be the other side -> its id."""
    partner = {a: b for pair in (*source.mirror, *target.mirror) for a, b in (pair, pair[::-1])}
    crossed = {source.side, target.side} == {"viewer", "subject"}
    return {partner.get(name, name) if crossed else name: i for i, name in enumerate(source.names)}


def chain(first: ClassMapping, second: ClassMapping) -> ClassMapping:
    """The mapping that does what the first does, then what the second does with its classes."""
    groups = tuple(tuple(i for middle in ids for i in first.groups[middle]) for ids in second.groups)
    ignored = (*first.ignored, *(i for middle in second.ignored for i in first.groups[middle]))
    notes = list(dict.fromkeys(note for note in (first.note, second.note) if note))
    return ClassMapping(first.source, second.target, groups, ignored, "; ".join(notes))


@cache
def _builtin_file(target: str) -> MappingFile | None:
    path = resources.files("faceparse.core.labels") / "mappings" / f"{target}.toml"
    return mapping_from_dict(tomllib.loads(path.read_text("utf-8")), path.name, target) if path.is_file() else None


def common_mappings(sets: Sequence[LabelSet], file: MappingFile | None = None) -> list[ClassMapping]:
    """Mappings of several label sets to the classes that all of them have, in the order of the sets.

    Without a file, the common set is the one with most classes to which each of the sets has a known mapping. Every
    class of the common set is a class of each set, or several.

    Raises:
        SettingsError: there is no such set, or the file does not give each set every class.
    """
    if file is not None:
        general = [one for one in sets if one.name not in file.tables]
        if general:
            _must_be_known(file, file.groups, general)
        target = made_by(file, sets)
        mappings = [map_classes(file, one, target) for one in sets]
        _must_agree_on_sides(file, mappings)
        for mapping in mappings:
            if mapping.absent:
                raise SettingsError(f"{file.where}: no class of {mapping.source.name} goes to {mapping.absent[0]!r}")
        return mappings
    candidates = (*sets[::-1], *builtin_label_sets().values())  # the truth's set, which comes last, wins a tie
    found: list[ClassMapping] = []
    for candidate in candidates:
        tried = [known_mapping(one, candidate) for one in sets]
        usable = [one for one in tried if one is not None and not one.absent]
        if len(usable) == len(sets) and (not found or len(candidate) > len(found[0].target)):
            found = usable
    if found:
        return found
    names = dict.fromkeys(f"{one.name} ({len(one)} classes)" for one in sets)
    raise SettingsError(
        f"{' and '.join(names)}: no known mapping to common classes; write one, with lines such as "
        f'skin = ["{sets[0].names[1]}", ...] for all classes of each, and give it as --mapping FILE'
    )


def _must_agree_on_sides(file: MappingFile, mappings: Sequence[ClassMapping]) -> None:
    """Refuse a new class that is on the image's left by one set and on its right by another."""
    for i, name in enumerate(mappings[0].target.names):
        seen: dict[str, str] = {}
        for mapping in mappings:
            sides = {image_side(mapping.source, mapping.source.names[old]) for old in mapping.groups[i]}
            if sides in ({"left"}, {"right"}):
                seen.setdefault(sides.pop(), mapping.source.name)
        if len(seen) > 1:
            raise SettingsError(
                f"{file.where}: {name} is on the image's left by {seen['left']}, on its right by {seen['right']}; "
                f"give one of them a table of its own, [{seen['right']}]"
            )
