"""The files of a folder's labels, and which of them are used."""

from pathlib import Path

from faceparse.core.errors import DatasetError
from faceparse.core.text.path_pattern import Pattern
from faceparse.core.text.patterns import some_names


class LabelFiles:
    """The files that match a pattern, by their paths below the folder. The case of their suffixes does not matter."""

    def __init__(self, raw: Path, pattern: Pattern) -> None:
        self._exact = {path.relative_to(raw).as_posix(): path for path, _ in pattern.files(raw)}
        self._any_case = {small_suffix(name): path for name, path in self._exact.items()}
        self._owners: dict[Path, Path] = {}

    def take(self, name: str, photograph: Path) -> Path | None:
        """The file of this path below the folder, for a photograph; None where there is none.

        Raises:
            DatasetError: another photograph has it.
        """
        path = self._exact.get(name) or self._any_case.get(small_suffix(name))
        if path is not None and (other := self._owners.setdefault(path, photograph)) != photograph:
            raise DatasetError(
                f"{path}: would be the label of {other} and of {photograph}; let --labels name the folders, too, such "
                "as {split}"
            )
        return path

    def left(self) -> list[Path]:
        """Files that no photograph took, in the order of their paths."""
        return [path for path in self._exact.values() if path not in self._owners]

    def unused(self) -> tuple[str, ...]:
        """Note on the files that no photograph took."""
        left = self.left()
        shown = some_names([path.name for path in left])
        return (f"{len(left)} label file{'s' * (len(left) != 1)} without a photograph: {shown}",) if left else ()


def small_suffix(name: str) -> str:
    """The path with its suffix in small letters."""
    before, dot, suffix = name.rpartition(".")
    return f"{before}{dot}{suffix.lower()}"
