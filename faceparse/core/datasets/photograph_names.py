"""Photographs by the names that people write for them in lists and tables."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from faceparse.core.datasets.folder_labels import Photograph
from faceparse.core.datasets.label_files import small_suffix


class Named(NamedTuple):
    """A line of a file about a photograph."""

    where: str
    """File and number of the line, for errors."""
    name: str
    """The photograph, as the line has it."""
    value: str


class PhotographNames:
    """Finds photographs by their id, path or file name, with or without suffix and the folders before.

    PhotographNames(photographs, Path("raw")).values([Named("people.csv:2", "anna.jpg", "anna")])
    """

    def __init__(self, photographs: Sequence[Photograph], raw: Path) -> None:
        self._raw = raw
        self._ids = {one.id for one in photographs}
        self._known: dict[str, set[str]] = defaultdict(set)
        for one in photographs:
            parts = one.path.relative_to(raw).parts
            for start in range(len(parts)):
                path = PurePosixPath(*parts[start:])
                for key in (small_suffix(str(path)), str(path.with_suffix(""))):
                    self._known[key].add(one.id)

    def find(self, name: str) -> list[str]:
        """Ids of the photographs that a name may mean: one, none, or several."""
        path = PurePosixPath(name.strip().replace("\\", "/"))
        for folder in (self._raw, self._raw.resolve()):
            if path.is_relative_to(folder.as_posix()):
                path = path.relative_to(folder.as_posix())
        if str(path) in self._ids:
            return [str(path)]
        return sorted(self._known.get(str(path)) or self._known.get(small_suffix(str(path))) or ())

    def values(self, lines: Iterable[Named]) -> tuple[dict[str, str], list[str]]:
        """Photograph's id -> its value, and one line for each line that is wrong."""
        found: dict[str, Named] = {}
        problems = []
        for line in lines:
            words = line.name.split()
            pair = len(words) == 2 and all(PurePosixPath(word).suffix for word in words)  # a photograph and its label
            ids = self.find(line.name) or (self.find(words[0]) if pair else [])
            if not ids:
                problems.append(f"{line.where}: {line.name!r} is no photograph in {self._raw}; fix the line")
            elif len(ids) > 1:
                problems.append(f"{line.where}: {line.name!r} may be {ids[0]!r} or {ids[1]!r}; write one of them")
            elif found.setdefault(ids[0], line).value != line.value:
                first = found[ids[0]]
                problems.append(
                    f"{line.where}: {line.name!r} is {line.value!r} here, and {first.value!r} in {first.where}; keep "
                    "one of the lines"
                )
        return {key: line.value for key, line in found.items()}, problems
