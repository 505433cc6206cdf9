"""A folder of one's own: images and label pictures that belong together by their names."""

import re
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
from faceparse.core.errors import ColourLabelError, DatasetError, SettingsError
from faceparse.core.files import IMAGE_SUFFIXES, read_bytes, read_image, read_label
from faceparse.core.labels import LabelSet
from faceparse.core.paths import broken_link


class Folder(WithoutLandmarks):
    """Photographs matching one pattern, labels another; what `*` stands for is the same in both.

    Labels are single-channel ids, palette PNGs, or pictures painted in the label set's colours.
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
        for path in sorted(self.raw.glob(self.images)):
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
        return [
            Item(_id(name), split[name], (path, self.raw / self.labels.replace("*", name)))
            for name, path in found.items()
        ]

    def _name(self, path: Path) -> str:
        """What the pattern's `*` stands for in `path`, without the file's suffix."""
        before, after = self.images.split("*")
        relative = path.relative_to(self.raw).as_posix()
        name = relative[len(before) : len(relative) - len(after)]
        return name if after else str(Path(name).with_suffix(""))

    def load(self, item: Item) -> Raw:
        image, label = item.files
        jpeg = read_bytes(image) if image.suffix.lower() in (".jpg", ".jpeg") else None
        return Raw(read_image(image), self._read_label(label), jpeg)

    def _read_label(self, path: Path) -> np.ndarray:
        if not path.is_file():
            if link := broken_link(path):
                raise DatasetError(f"{link}; mend the link")
            raise DatasetError(
                f"{path}: missing; every image needs its label picture (see --labels), move those without one elsewhere"
            )
        try:
            return read_label(path)
        except ColourLabelError:
            return self._from_colours(path)

    def _from_colours(self, path: Path) -> np.ndarray:
        picture, palette = read_image(path), self.label_set.palette()
        label = nearest_colour(picture, palette)
        hits = (palette[label] == picture).all(axis=2)
        # A label set may have greys for colours; ids in three channels hit its black alone.
        if (np.ptp(picture, axis=2) == 0).all() and not hits.all():
            raise DatasetError(
                f"{path}: three equal channels, and not only colours of label set {self.label_set.name!r}; save the "
                "ids as a single-channel PNG"
            )
        # Anti-aliased borders are off the palette; a picture that is so for the most part has another palette.
        painted = ~(hits & (label == 0))
        exact = float(hits[painted].mean()) if painted.any() else 1.0
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


def _id(name: str) -> str:
    """A name that a list line can hold: its fields are separated by blanks, and it is UTF-8."""
    return re.sub(r"\s+|[\ud800-\udfff]", "_", name)
