"""Your own folder of images and label pictures, paired by name."""

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
from faceparse.core.images.opening import read_orientation
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES, decode_picture
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, unknown_values
from faceparse.core.labels.mapping import MappingFile, identity, map_classes
from faceparse.core.text.paths import broken_link
from faceparse.core.text.patterns import any_case, some


class Folder(WithoutLandmarks):
    """Photographs that match one pattern, and labels that match another; `*` is the same name in both.

    Labels are single-channel ids, palette PNGs, or pictures painted in the label set's colours. Labels of one channel
    may also hold the label set's grey colours, or 0 and 255 where it has two classes.

    A mapping renames and merges the classes of `label_set`, which are those of the label pictures.

        Folder(Path("raw"), label_set=get_label_set("helen"), images="photos/*.jpg", labels="masks/*.png")
    """

    def __init__(
        self,
        raw: Path,
        *,
        label_set: LabelSet,
        mapping: MappingFile | None = None,
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
        # './photos/*.jpg' matches the same files as 'photos/*.jpg', and must give the same names.
        self.images, self.labels = str(PurePosixPath(images)), str(PurePosixPath(labels))
        self.raw_set = label_set
        self.mapping = map_classes(mapping, label_set) if mapping is not None else identity(label_set)
        self.label_set = self.mapping.target
        self.val, self.test, self.seed = val, test, seed

    def items(self) -> list[Item]:
        """Every photograph with its split, and how the label values are read."""
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
        """Note on files that are skipped because they are no photographs."""
        others = [path for path in self._found() if path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES]
        return [f"passed over, being no photographs: {some(others)}"] if others else []

    def _found(self) -> list[Path]:
        """Files that match the pattern, without hidden ones."""
        return [path for path in sorted(self.raw.glob(any_case(self.images))) if not path.name.startswith(".")]

    def _label(self, name: str) -> Path:
        """Path of the label of the photograph `name`; its suffix may be in small letters or capitals."""
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
        """Grey value -> id.

        The greys are the label set's colours. A set of two classes without greys gets 0 and 255, as most tools paint.
        """
        greys = {int(colour[0]): i for i, colour in enumerate(self.raw_set.palette()) if np.ptp(colour) == 0}
        if len(greys) > 1:
            return greys
        return {0: 0, 255: 1} if len(self.raw_set) == 2 else {}

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
            except FaceparseError:  # painted, missing or damaged: `load` reads or refuses it
                continue
            if not values <= levels.keys():
                return ""
            seen |= values
        if all(levels[value] == value for value in seen):
            return ""
        return ", ".join(f"{value} is {self.raw_set.names[levels[value]]}" for value in sorted(seen))

    def _name(self, path: Path) -> str:
        """Part of `path` that the pattern's `*` stands for, without the file's suffix."""
        before, after = self.images.split("*")
        relative = path.relative_to(self.raw).as_posix()
        name = relative[len(before) : len(relative) - len(after)]
        return name if after else str(Path(name).with_suffix(""))

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label."""
        image, label = item.files
        data = read_bytes(image)
        picture = decode_picture(data, str(image))
        return Raw(
            picture.image,
            self._mapped(self._read_label(label, item.reading), label),
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

    def _mapped(self, label: np.ndarray, where: Path) -> np.ndarray:
        """The label in the classes of `label_set`. Its values must be known before: a mapping hides the others."""
        if self.mapping.is_identity:
            return label
        if bad := unknown_values(label, len(self.raw_set)):
            raise DatasetError(
                f"{where}: value {bad[0]} is not one of the {len(self.raw_set)} classes of {self.raw_set.name} "
                f"(0 to {len(self.raw_set) - 1}, {IGNORE} ignored); fix the label or name its label set with "
                "--label-set"
            )
        return self.mapping.table[label]

    def _from_colours(self, path: Path) -> np.ndarray:
        picture, palette = _colours(path), self.raw_set.palette()
        label = nearest_colour(picture, palette)
        hits = (palette[label] == picture).all(axis=2)
        # Anti-aliased borders have no palette colour. Where most pixels have none, the picture has another palette.
        painted = ~(hits & (label == 0))
        exact = float(hits[painted].mean()) if painted.any() else 1.0
        # A label set may have grey colours, so greys alone are no error. Ids in three channels match only its black.
        if exact < 0.5 and (np.ptp(picture, axis=2) == 0).all():
            raise DatasetError(
                f"{path}: three equal channels, and not only colours of label set {self.raw_set.name!r}; save the "
                "ids as a single-channel PNG"
            )
        if exact < 0.5:
            raise DatasetError(
                f"{path}: only {exact:.0%} of its painted pixels have a colour of label set {self.raw_set.name!r}; "
                "give its colours in a label set TOML, --label-set FILE"
            )
        return label

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {
            "source": "folder",
            "raw": str(self.raw.resolve()),
            "images": self.images,
            "labels": self.labels,
            "label_set": self.raw_set.to_toml(),
            **({} if self.mapping.is_identity else {"mapping": self.mapping.to_toml()}),
            "val": self.val,
            "test": self.test,
            "seed": self.seed,
        }


def _colours(path: Path) -> np.ndarray:
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
        colours = _colours(path)
        if np.ptp(colours, axis=2).any():
            raise
        return colours[..., 0]


def _id(name: str) -> str:
    """Id made from a name. Blanks, which separate a list's fields, and characters outside UTF-8 become `_`."""
    return re.sub(r"\s+|[\ud800-\udfff]", "_", name)
