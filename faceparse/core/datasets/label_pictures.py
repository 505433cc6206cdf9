"""Labels of a folder: one picture for each photograph, of class ids or painted in colours."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.folder_labels import FoundLabels, LabelMap, Photograph
from faceparse.core.datasets.label_files import LabelFiles
from faceparse.core.datasets.source import Item, nearest_colour
from faceparse.core.errors import ColourLabelError, DatasetError, FaceparseError, SettingsError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import decode_picture
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.text.path_pattern import Pattern
from faceparse.core.text.paths import broken_link


class LabelPictures:
    """Label pictures whose pattern has the wildcards of the photographs' pattern.

    A picture has single-channel ids, a palette, or the label set's colours. Those of one channel may also hold the
    label set's grey colours, or 0 and 255 where it has two classes.

        LabelPictures(Path("raw"), Pattern("masks/*.png"), get_label_set("helen"))
    """

    def __init__(self, raw: Path, pattern: Pattern, label_set: LabelSet, ignored: str | None = None) -> None:
        """Use the pictures that match `pattern` in `raw`.

        Args:
            ignored: id or colour (`#ff00ff`) of pixels that do not count, beside 255.

        Raises:
            SettingsError: `ignored` is neither, or that of a class.
        """
        self.raw, self.pattern, self.label_set, self.ignored = raw, pattern, label_set, ignored
        self._ids = np.arange(256, dtype=np.uint8)
        """Value in a picture of ids -> id."""
        self._colours = label_set.palette()
        """C x 3: colours in pictures, with that of ignored pixels at the end."""
        self._of_colour = np.arange(len(self._colours), dtype=np.uint8)
        if ignored is not None:
            self._ignore(ignored)

    def _ignore(self, ignored: str) -> None:
        names = self.label_set.names
        if len(ignored) == 7 and ignored.startswith("#"):
            try:
                colour = np.frombuffer(bytes.fromhex(ignored[1:]), np.uint8)
            except ValueError:
                raise SettingsError(f"--ignored {ignored!r}: a colour is written like '#ff8000'") from None
            if (same := (self._colours == colour).all(axis=1)).any():
                raise self._is_a_class(names[int(same.argmax())])
            self._colours = np.vstack([self._colours, colour])
            self._of_colour = np.append(self._of_colour, np.uint8(IGNORE))
            return
        if not (ignored.isascii() and ignored.isdigit() and int(ignored) < IGNORE):
            raise SettingsError(
                f"--ignored {ignored!r}: an id from 0 to {IGNORE - 1} or a colour like '#ff8000'; {IGNORE} is ignored "
                "without it"
            )
        if int(ignored) < len(names):
            raise self._is_a_class(names[int(ignored)])
        self._ids[int(ignored)] = IGNORE

    def _is_a_class(self, name: str) -> SettingsError:
        return SettingsError(
            f"--ignored {self.ignored}: is the class {name} of {self.label_set.name}; to ignore a class, give a "
            f'--mapping with ignored = ["{name}"]'
        )

    def find(self, photographs: Sequence[Photograph]) -> FoundLabels:
        """Find the picture of every photograph.

        Raises:
            DatasetError: two photographs have the same picture.
        """
        labels = LabelFiles(self.raw, self.pattern)
        files: dict[str, tuple[Path, ...]] = {}
        problems: dict[str, str] = {}
        for one in photographs:
            name = self.pattern.fill(one.wildcards, one.fields)
            path = labels.take(name, one.path)
            if path is not None and path.is_file():
                files[one.id] = (path,)
            else:
                problems[one.id] = _missing(path or self.raw / name)
        return FoundLabels(files, problems, self._reading(path for (path,) in files.values()), labels.unused())

    def read(self, item: Item, size: tuple[int, int]) -> LabelMap:
        """Read the picture of one photograph; its size is its own."""
        path = item.files[1]
        try:
            if item.reading:
                table, levels = self._ids.copy(), self._levels()
                table[list(levels)] = list(levels.values())
                return LabelMap(table[_one_channel(path)])
            return LabelMap(self._ids[read_label(path)])
        except ColourLabelError:
            return LabelMap(self._from_colours(path))

    def _levels(self) -> dict[int, int]:
        """Grey value -> id.

        The greys are the label set's colours. A set of two classes without greys gets 0 and 255, as most tools paint.
        """
        colours = zip(self._colours, self._of_colour, strict=True)
        greys = {int(colour[0]): int(i) for colour, i in colours if np.ptp(colour) == 0}
        if len(set(greys.values()) - {IGNORE}) > 1:
            return greys
        return {0: 0, 255: 1} if len(self.label_set) == 2 else {}

    def _reading(self, labels: Iterable[Path]) -> str:
        """Note on how label values are read; empty where they are ids.

        Values are greys where all labels of one channel hold only greys of `_levels`, and these are not the ids.
        """
        levels, seen = self._levels(), set[int]()
        if not levels:
            return ""
        for path in labels:
            try:
                values = set(np.unique(_one_channel(path)).tolist())
            except FaceparseError:  # painted or damaged: `read` reads or refuses it
                continue
            if not values <= levels.keys():
                return ""
            seen |= values
        if all(levels[value] == value for value in seen):
            return ""
        names = dict(enumerate(self.label_set.names)) | {IGNORE: "ignored"}
        return ", ".join(f"{value} is {names[levels[value]]}" for value in sorted(seen))

    def _from_colours(self, path: Path) -> np.ndarray:
        picture = _painted(path)
        nearest = nearest_colour(picture, self._colours)
        hits = (self._colours[nearest] == picture).all(axis=2)
        # Anti-aliased borders have no palette colour. Where most pixels have none, the picture has another palette.
        painted = ~(hits & (nearest == 0))
        exact = float(hits[painted].mean()) if painted.any() else 1.0
        # A label set may have grey colours, so greys alone are no error. Ids in three channels match only its black.
        if exact < 0.5 and (np.ptp(picture, axis=2) == 0).all():
            raise DatasetError(
                f"{path}: three equal channels, and not only colours of label set {self.label_set.name!r}; save the "
                "ids as a single-channel PNG"
            )
        if exact < 0.5:
            raise DatasetError(
                f"{path}: only {exact:.0%} of its painted pixels have a colour of label set {self.label_set.name!r}; "
                "give its colours in a label set TOML, --label-set FILE"
            )
        self._refuse_unknown(path, picture, nearest, hits)
        return self._of_colour[nearest]

    def _refuse_unknown(self, path: Path, picture: np.ndarray, nearest: np.ndarray, hits: np.ndarray) -> None:
        """Refuse an area of one unknown colour: it is no border, but a class that the label set lacks."""
        areas = ~hits & _surrounded(picture)
        if not areas.any():
            return
        y, x = np.argwhere(areas)[0]
        i = int(self._of_colour[nearest[y, x]])
        name = "ignored" if i == IGNORE else self.label_set.names[i]
        raise DatasetError(
            f"{path}: colour #{bytes(picture[y, x]).hex()}, as at ({x}, {y}), is no class of {self.label_set.name!r}; "
            f"the nearest is {name} (#{bytes(self._colours[nearest[y, x]]).hex()}); repaint it or add the colour to "
            "the label set"
        )

    def describe(self) -> dict[str, Any]:
        """Facts that the labels depend on."""
        return {"labels": self.pattern.text} | ({} if self.ignored is None else {"ignored": self.ignored})


def _missing(path: Path) -> str:
    if link := broken_link(path):
        return f"{link}; fix the link"
    return f"{path}: missing; every image needs its label picture (see --labels)"


def _painted(path: Path) -> np.ndarray:
    """H x W x 3: the colours that a label is painted in, also where it is transparent."""
    return decode_picture(read_bytes(path), str(path)).own[..., :3]


def _one_channel(path: Path) -> np.ndarray:
    """H x W: a label's values, from one channel or from three equal ones.

    Raises:
        ColourLabelError: the three channels differ.
    """
    try:
        return read_label(path)
    except ColourLabelError:
        colours = _painted(path)
        if np.ptp(colours, axis=2).any():
            raise
        return colours[..., 0]


def _surrounded(picture: np.ndarray) -> np.ndarray:
    """H x W bool: True at pixels whose eight neighbours all have their colour."""
    colours = picture.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    height, width = colours.shape
    same = np.zeros((height, width), bool)
    if min(height, width) < 3:
        return same
    inner = same[1:-1, 1:-1]
    inner[:] = True
    for y, x in product(range(3), repeat=2):
        inner &= colours[y : height - 2 + y, x : width - 2 + x] == colours[1:-1, 1:-1]
    return same
