"""A folder of one's own: images and label pictures that belong together by their names."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceparse.core.datasets.source import (
    Item,
    Raw,
    WithoutLandmarks,
    must_be_a_folder,
    nearest_colour,
    split_by_share,
)
from faceparse.core.errors import ColourLabelError, DatasetError, FaceparseError, SettingsError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.label_pictures import read_label
from faceparse.core.images.opening import read_orientation
from faceparse.core.images.pictures import IMAGE_SUFFIXES, decode_picture
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.text.paths import broken_link
from faceparse.core.text.patterns import any_case, some


class Folder(WithoutLandmarks):
    """Photographs matching one pattern, labels another; what `*` stands for is the same in both.

    Labels are single-channel ids, palette PNGs, or pictures painted in the label set's colours; in greys alone where
    the label set has such, and as 0 and 255 where it has two classes.
    """

    def __init__(
        self,
        raw: Path,
        *,
        label_set: LabelSet,
        images: str = "images/*",
        labels: str = "labels/*.png",
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
    ) -> None:
        if images.count("*") != 1 or labels.count("*") != 1:
            raise SettingsError(
                f"--images {images!r} and --labels {labels!r}: each pattern has exactly one '*', the photograph's "
                "name; bring photographs of several folders into one, such as anna_1.jpg of anna/1.jpg, and their "
                "labels too; --val and --test draw the splits, whose lists you may then edit"
            )
        if labels.lower().endswith(".json"):
            raise SettingsError(
                f"--labels {labels!r}: polygons are not read; draw them into pictures of ids first, as PNG"
            )
        if Path(images).is_absolute() or Path(labels).is_absolute():
            raise SettingsError(f"--images {images!r} and --labels {labels!r}: patterns are relative to {raw}")
        self.raw = raw
        # './photos/*.jpg' matches what 'photos/*.jpg' does, and must give the same names.
        self.images, self.labels = str(PurePosixPath(images)), str(PurePosixPath(labels))
        self.label_set = label_set
        self.val, self.test, self.seed = val, test, seed

    def items(self) -> list[Item]:
        must_be_a_folder(self.raw)
        found: dict[str, Path] = {}
        seen: dict[str, Path] = {}
        for path in self._found():
            if path.suffix.lower() in IMAGE_SUFFIXES:
                name = self._name(path)
                if (twin := seen.setdefault(_id(name), path)) != path:
                    raise DatasetError(f"{path} and {twin} have the same name; narrow the pattern with --images")
                found[name] = path
        if not found:
            raise DatasetError(
                f"{self.raw / self.images}: no images; name them with --images 'photos/*.jpg' (folders in that folder "
                "are not searched)"
            )
        split = split_by_share(found, val=self.val, test=self.test, seed=self.seed)
        labels = {name: self._label(name) for name in found}
        reading = self._reading(labels.values())
        return [Item(_id(name), split[name], (path, labels[name]), reading) for name, path in found.items()]

    def notes(self) -> list[str]:
        others = [path for path in self._found() if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES]
        return [f"passed over, being no photographs: {some(others)}"] if others else []

    def _found(self) -> list[Path]:
        """What the pattern matches, less hidden files."""
        return [path for path in sorted(self.raw.glob(any_case(self.images))) if not path.name.startswith(".")]

    def _label(self, name: str) -> Path:
        """Of the photograph of that name, whose label's suffix may be in capitals, too."""
        named = self.labels.replace("*", name)
        path = self.raw / named
        if path.exists():
            return path
        before, dot, suffix = named.rpartition(".")
        return next(
            (other for end in (suffix.lower(), suffix.upper()) if (other := self.raw / f"{before}{dot}{end}").exists()),
            path,
        )

    def _levels(self) -> dict[int, int]:
        """Grey -> id, of the label set's colours; of two classes in others 0 and 255, as most tools paint them."""
        greys = {int(colour[0]): i for i, colour in enumerate(self.label_set.palette()) if np.ptp(colour) == 0}
        if len(greys) > 1:
            return greys
        return {0: 0, 255: 1} if len(self.label_set) == 2 else {}

    def _reading(self, labels: Iterable[Path]) -> str:
        """How values are read where all labels of one channel hold greys of `_levels` alone, which are no ids."""
        levels, seen = self._levels(), set[int]()
        if not levels:
            return ""
        for path in labels:
            try:
                values = set(np.unique(_one_channel(path)).tolist())
            except FaceparseError:  # painted, missing or damaged: `load` sees to it
                continue
            if not values <= levels.keys():
                return ""
            seen |= values
        if all(levels[value] == value for value in seen):
            return ""
        return ", ".join(f"{value} is {self.label_set.names[levels[value]]}" for value in sorted(seen))

    def _name(self, path: Path) -> str:
        """What the pattern's `*` stands for in `path`, without the file's suffix."""
        before, after = self.images.split("*")
        relative = path.relative_to(self.raw).as_posix()
        name = relative[len(before) : len(relative) - len(after)]
        return name if after else str(Path(name).with_suffix(""))

    def load(self, item: Item) -> Raw:
        image, label = item.files
        data = read_bytes(image)
        picture = decode_picture(data, str(image))
        return Raw(
            picture.image,
            self._read_label(label, item.reading),
            data if data[:2] == b"\xff\xd8" else None,
            read_orientation(data),
            picture.notice,
        )

    def _read_label(self, path: Path, reading: str) -> np.ndarray:
        if not path.is_file():
            if link := broken_link(path):
                raise DatasetError(f"{link}; fix the link")
            raise DatasetError(
                f"{path}: missing; every image needs its label picture (see --labels), move those without one elsewhere"
            )
        try:
            if reading:
                table = np.arange(256, dtype=np.uint8)
                table[list(self._levels())] = list(self._levels().values())
                return table[_one_channel(path)]
            return read_label(path)
        except ColourLabelError:
            return self._from_colours(path)

    def _from_colours(self, path: Path) -> np.ndarray:
        picture, palette = _colours(path), self.label_set.palette()
        label = nearest_colour(picture, palette)
        hits = (palette[label] == picture).all(axis=2)
        # Anti-aliased borders are off the palette; a picture that is so for the most part has another palette.
        painted = ~(hits & (label == 0))
        exact = float(hits[painted].mean()) if painted.any() else 1.0
        # A label set may have greys for colours; ids in three channels hit its black alone.
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
        return label

    def describe(self) -> dict[str, Any]:
        return {
            "source": "folder",
            "raw": str(self.raw.resolve()),
            "images": self.images,
            "labels": self.labels,
            "label_set": self.label_set.to_toml(),
            "val": self.val,
            "test": self.test,
            "seed": self.seed,
        }


def _colours(path: Path) -> np.ndarray:
    """H x W x 3: the colours that a label is painted in, whether they can be seen or not."""
    return decode_picture(read_bytes(path), str(path)).own[..., :3]


def _one_channel(path: Path) -> np.ndarray:
    """H x W: a label's values, which may stand in three equal channels.

    Raises:
        ColourLabelError: they differ.
    """
    try:
        return read_label(path)
    except ColourLabelError:
        colours = _colours(path)
        if np.ptp(colours, axis=2).any():
            raise
        return colours[..., 0]


def _id(name: str) -> str:
    """A name that a list line can hold: its fields are separated by blanks, and it is UTF-8."""
    return re.sub(r"\s+|[\ud800-\udfff]", "_", name)
