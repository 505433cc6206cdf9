"""A folder of one's own: images and label pictures that belong together by their names."""

import re
from pathlib import Path
from typing import Any

from faceparse.core.datasets.source import Item, Pair, nearest_colour, split_by_share
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files import IMAGE_SUFFIXES, image_size, read_bytes, read_image, read_label
from faceparse.core.labels import LabelSet


class Folder:
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
            raise SettingsError(f"--images {images!r} and --labels {labels!r}: each pattern has exactly one '*', the photograph's name")
        self.raw, self.images, self.labels = raw, images, labels
        self.label_set = label_set
        self.val, self.test, self.seed = val, test, seed

    def items(self) -> list[Item]:
        if not self.raw.is_dir():
            raise DatasetError(f"{self.raw}: no such folder")
        found: dict[str, Path] = {}
        for path in sorted(self.raw.glob(self.images)):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                name = self._name(path)
                if name in found:
                    raise DatasetError(f"{path} and {found[name]} have the same name; narrow the pattern with --images")
                found[name] = path
        if not found:
            raise DatasetError(f"{self.raw / self.images}: no images; name them with --images 'photos/*.jpg'")
        split = split_by_share(found, val=self.val, test=self.test, seed=self.seed)
        return [
            Item(id=re.sub(r"\s+", "_", name), split=split[name], image=path, label=self.raw / self.labels.replace("*", name))
            for name, path in found.items()
        ]

    def _name(self, path: Path) -> str:
        """What the pattern's `*` stands for in `path`, without the file's suffix."""
        before, after = self.images.split("*")
        relative = path.relative_to(self.raw).as_posix()
        name = relative[len(before) : len(relative) - len(after)]
        return name if after else str(Path(name).with_suffix(""))

    def load(self, item: Item) -> Pair:
        assert item.image and item.label
        image: Any
        if item.image.suffix.lower() in (".jpg", ".jpeg"):
            # Kept as it is: encoding anew would lose a little. Decoded all the same, to find damage now.
            read_image(item.image)
            image, size = read_bytes(item.image), image_size(item.image)
        else:
            image = read_image(item.image)
            size = image.shape[:2]
        return Pair(image, self._read_label(item.label), size)

    def _read_label(self, path: Path) -> Any:
        if not path.is_file():
            raise DatasetError(f"{path}: missing; every image needs its label picture (see --labels)")
        try:
            return read_label(path)
        except DatasetError as error:
            if "single-channel" not in str(error):
                raise
            return nearest_colour(read_image(path), self.label_set.palette())

    def describe(self) -> dict[str, Any]:
        return {
            "source": "folder",
            "raw": str(self.raw),
            "images": self.images,
            "labels": self.labels,
            "label_set": self.label_set.to_toml(),
            "val": self.val,
            "test": self.test,
            "seed": self.seed,
        }
