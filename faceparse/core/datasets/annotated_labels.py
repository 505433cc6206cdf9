"""Labels of a folder: regions that people drew with an annotation tool."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceparse.core.annotations.annotation_files import annotations_of, name_key, read_annotations
from faceparse.core.annotations.regions import ids_by_name
from faceparse.core.datasets.folder_labels import FoundLabels, LabelMap, Photograph
from faceparse.core.datasets.source import Item
from faceparse.core.errors import DatasetError, ProblemsError
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.text.path_pattern import Pattern
from faceparse.core.text.patterns import some_names


@dataclass(frozen=True)
class _Entry:
    """One photograph of a file, without its regions."""

    file: Path
    file_names: tuple[str, ...]


class AnnotatedLabels:
    """Files of LabelMe, COCO, CVAT for images or Label Studio, one or several; the content tells which.

    A photograph's annotation has its file name. If photographs of several folders have that name, the folders that the
    annotation names must tell them apart.

        AnnotatedLabels(Path("raw"), "photos/*.json", get_label_set("helen"))
    """

    def __init__(self, raw: Path, annotations: str, label_set: LabelSet) -> None:
        """Use the files that a path or pattern names: in `raw`, or if there are none, from the working folder."""
        self.raw, self.annotations, self.label_set = raw, annotations, label_set

    def find(self, photographs: Sequence[Photograph]) -> FoundLabels:
        """Find the annotation of every photograph.

        Raises:
            DatasetError: there is no file, a file that belongs to no photograph cannot be read, or regions have names
                that are no class. The error names what else is wrong, too.
        """
        entries, broken, strangers, empty = self._read_all()
        by_name: dict[str, list[_Entry]] = defaultdict(list)
        for entry in entries:
            for key in {name_key(name) for name in entry.file_names}:
                by_name[key].append(entry)
        chosen, problems = _choose(photographs, by_name)
        for one in photographs:
            if one.id not in chosen and one.id not in problems:
                files = [path for path in broken if path.stem == one.path.stem]
                problems[one.id] = (
                    broken.pop(files[0]) if files else f"{one.path}: no annotation of it in {self.annotations}"
                )
        used, paths = set(chosen.values()), {one.id: one.path for one in photographs}
        for key in [key for key, entry in chosen.items() if entry in empty]:
            problems[key] = f"{paths[key]}: annotated without any region in {chosen.pop(key).file}; label it"
        if fatal := [*broken.values(), *strangers]:
            every = (*fatal, *problems.values())
            raise DatasetError(fatal[0]) if len(every) == 1 else ProblemsError(f"{len(every)} problems", every)
        unused = [entry.file_names[-1] for entry in entries if entry not in used]
        notes = [f"annotations without a photograph: {some_names(unused)}"] if unused else []
        return FoundLabels({key: (entry.file,) for key, entry in chosen.items()}, problems, notes=tuple(notes))

    def read(self, item: Item, size: tuple[int, int]) -> LabelMap:
        """Draw the regions of one photograph over each other, in the order that their tool has."""
        photograph, file = item.files[:2]
        named = annotations_of(file, photograph.name)
        if not named:  # it was found a moment ago
            raise DatasetError(f"{file}: has changed meanwhile; start the command again")
        drawn = max(named, key=lambda one: _agreement(photograph, one.file_names)).draw(self.label_set, size)
        notice = f"an outline crosses itself; {drawn.doubled} pixels that it surrounds twice count as outside"
        return LabelMap(drawn.label, notice=notice if drawn.doubled else "")

    def describe(self) -> dict[str, Any]:
        """Facts that the labels depend on."""
        return {"annotations": self.annotations}

    def _files(self) -> list[Path]:
        typed = Path(self.annotations)
        bases = [Path(typed.anchor)] if typed.anchor else [self.raw, Path()]
        pattern = Pattern(typed.relative_to(typed.anchor).as_posix())
        for base in bases:
            if files := [path for path, _ in pattern.files(base)]:
                return files
        raise DatasetError(
            f"--annotations {self.annotations}: no such file, neither in {self.raw} nor here; name the file, or all by "
            "a pattern such as 'photos/*.json'"
        )

    def _read_all(self) -> tuple[list[_Entry], dict[Path, str], list[str], set[_Entry]]:
        """All entries; the errors of files that cannot be read; unknown names of regions; entries without a region."""
        entries, empty = list[_Entry](), set[_Entry]()
        broken: dict[Path, str] = {}
        known, unknown, first = ids_by_name(self.label_set), Counter[str](), dict[str, Path]()
        for path in self._files():
            try:
                found = read_annotations(path)
            except DatasetError as error:
                broken[path] = str(error)
                continue
            for one in found:
                entry = _Entry(path, one.file_names)
                entries.append(entry)
                if not one.regions:
                    empty.add(entry)
                for region in one.regions:
                    if region.name not in known:
                        unknown[region.name] += 1
                        first.setdefault(region.name, path)
        names = self.label_set.names
        strangers = [
            f"{first[name]}: {name[:60]!r} is no class of {self.label_set.name} ({count} region{'s' * (count != 1)}"
            f"{nearest(name, names)})"
            for name, count in unknown.items()
        ]
        if strangers:
            strangers[-1] += f"; rename them, or add them to the label set, whose classes are {', '.join(names)}"
        return entries, broken, strangers, empty


def _choose(
    photographs: Sequence[Photograph], by_name: dict[str, list[_Entry]]
) -> tuple[dict[str, _Entry], dict[str, str]]:
    """Photograph's id -> the entry that agrees with most of its path; or the reason why none can be chosen."""
    chosen: dict[str, tuple[_Entry, int]] = {}
    problems: dict[str, str] = {}
    claims: dict[_Entry, list[Photograph]] = defaultdict(list)
    for one in photographs:
        rated = [(_agreement(one.path, entry.file_names), entry) for entry in by_name.get(name_key(one.path.name), ())]
        best = max((rate for rate, _ in rated), default=0)
        entries = [entry for rate, entry in rated if rate == best]
        if len(entries) > 1:
            files = " and ".join(dict.fromkeys(str(entry.file) for entry in entries[:2]))
            problems[one.id] = f"{one.path}: is annotated {len(entries)} times, in {files}; keep one of them"
        elif entries:
            chosen[one.id] = (entries[0], best)
            claims[entries[0]].append(one)
    for entry, claimants in claims.items():
        best = max(chosen[one.id][1] for one in claimants)
        first = [one for one in claimants if chosen[one.id][1] == best]
        for one in claimants:
            if one not in first or len(first) > 1:
                del chosen[one.id]
            if one in first and len(first) > 1:
                problems[one.id] = (
                    f"{entry.file}: {entry.file_names[-1]!r} may be {first[0].path} or {first[1].path}; give them "
                    "names of their own"
                )
    return {key: entry for key, (entry, _) in chosen.items()}, problems


def _agreement(photograph: Path, file_names: Sequence[str]) -> int:
    """Number of the path's last parts (file name, folder, its folder, ...) that one of the names has, too."""
    return max(sum(1 for _ in _same(photograph, name)) for name in file_names)


def _same(photograph: Path, name: str) -> Iterator[str]:
    for one, other in zip(_parts(photograph.as_posix()), _parts(name), strict=False):
        if one != other:
            return
        yield one


def _parts(path: str) -> list[str]:
    """Parts of a path from its end, the file name as `name_key` has it; those that name no folder are left out."""
    *folders, name = [part for part in path.split("/") if part not in ("", ".", "..")] or [""]
    return [name_key(name), *reversed(folders)]
