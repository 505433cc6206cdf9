"""Helen as relabelled by Smith et al. (Exemplar-Based Face Parsing, CVPR 2013), with or without S. Liu's points/.

images/<id>.jpg   labels/<id>/<id>_lbl00.png .. <id>_lbl10.png (soft maps)   exemplars.txt tuning.txt testing.txt
"""

from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.source import Item, Raw, WithoutNotes, find_root
from faceparse.core.errors import DatasetError
from faceparse.core.faces.alignment import read_five_points
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_label import read_label
from faceparse.core.images.read_photograph import read_image
from faceparse.core.labels.label_set import get_label_set
from faceparse.core.text.paths import broken_link, decode_text

LISTS = {"train": "exemplars.txt", "val": "tuning.txt", "test": "testing.txt"}
"""The published lists, 2000 / 230 / 100 photographs."""
POINTS = 194


class Helen(WithoutNotes):
    """Helen as a source. Soft maps are warped before argmax; without alignment, the label is their argmax."""

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.label_set = get_label_set("helen")
        self._root: Path | None = None

    @property
    def root(self) -> Path:
        """Folder that holds the images, the labels and the lists."""
        self._root = self._root or find_root(self.raw, "images", "labels", LISTS["train"])
        return self._root

    @property
    def has_landmarks(self) -> bool:
        """Whether the folder has S. Liu's `points/`."""
        return (self.root / "points").is_dir()

    def items(self) -> list[Item]:
        """Every photograph with its split."""
        points = self._points_by_id()
        return [
            Item(name, split, (self.root / "images" / f"{name}.jpg", *self._maps(name), *points.get(name, ())))
            for split, list_name in LISTS.items()
            for name in self._ids(list_name)
        ]

    def _ids(self, list_name: str) -> list[str]:
        path = self.root / list_name
        ids = []
        for number, line in enumerate(decode_text(read_bytes(path), errors="replace").splitlines(), 1):
            if not line.strip():
                continue
            *before, name = (field.strip() for field in line.split(","))
            if not before or not name:
                raise DatasetError(f"{path}:{number}: {line.strip()[:40]!r} is not '<number> , <id>'; fix the line")
            ids.append(name)
        return ids

    def _maps(self, name: str) -> list[Path]:
        folder = self.root / "labels" / name
        return [folder / f"{name}_lbl{i:02d}.png" for i in range(len(self.label_set))]

    def _points_by_id(self) -> dict[str, tuple[Path]]:
        """Id -> its points file. The files are numbered; the id is their first line."""
        if not self.has_landmarks:
            return {}
        found = {}
        for path in sorted((self.root / "points").glob("*.txt")):
            first, *_ = decode_text(read_bytes(path), errors="replace").splitlines() or [""]
            found[first.strip()] = (path,)
        return found

    def load(self, item: Item) -> Raw:
        """Read one photograph and its soft maps."""
        image, *maps = item.files
        missing = [path for path in maps[: len(self.label_set)] if not path.is_file()]
        if missing:
            if link := broken_link(missing[0]):
                raise DatasetError(f"{link}; fix the link")
            raise DatasetError(
                f"{missing[0]}: soft map missing ({len(missing)} of {len(self.label_set)}); unpack the labels again"
            )
        soft = [read_label(path) for path in maps[: len(self.label_set)]]
        for path, one in zip(maps, soft, strict=False):
            if one.shape != soft[0].shape:
                raise DatasetError(f"{path}: of another size than {maps[0].name}; unpack the labels again")
        return Raw(read_image(image), np.stack(soft), read_bytes(image))

    def points(self, item: Item) -> np.ndarray | None:
        """Five points of the alignment, 5 x 2, or None where the photograph has none."""
        files = item.files[1 + len(self.label_set) :]
        return read_five_points(files[0], count=POINTS, header=True) if files else None

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        return {"source": "helen", "raw": str(self.raw.resolve())}
