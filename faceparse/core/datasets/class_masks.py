"""Labels of a folder: several masks for each photograph, one file a class."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.datasets.folder_labels import FoundLabels, LabelMap, Photograph
from faceparse.core.datasets.label_files import LabelFiles, small_suffix
from faceparse.core.datasets.source import Item
from faceparse.core.errors import DatasetError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.read_photograph import decode_picture
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.text.path_pattern import Pattern

IGNORED = "ignored"
"""Name in the place of a class's for a mask of pixels that do not count."""


class ClassMasks:
    """Masks whose pattern has `{class}` in it, the name of a class of the label set.

    Inside a mask are the pixels that are lighter than half of its brightest one, or the opaque ones if it has
    transparent parts. So its borders may be anti-aliased, and it may be a JPEG. Pixels in no mask are the first class,
    the background. Where masks overlap, the class that is later in the label set counts. A class without a file has no
    pixels in that photograph.

        ClassMasks(Path("raw"), Pattern("photos/*.jpg"), Pattern("masks/*_{class}.png"), get_label_set("helen"))
    """

    def __init__(self, raw: Path, images: Pattern, pattern: Pattern, label_set: LabelSet) -> None:
        self.raw, self.images, self.pattern, self.label_set = raw, images, pattern, label_set
        self._names = (*label_set.names, *(() if IGNORED in label_set.classes else (IGNORED,)))

    def _paths(self, one: Photograph) -> list[str]:
        """Where the mask of each class would be, in the order of `_names`."""
        return [self.pattern.fill(one.wildcards, {**one.fields, "class": name}) for name in self._names]

    def find(self, photographs: Sequence[Photograph]) -> FoundLabels:
        """Find the masks of every photograph. A mask of an unknown class is a problem of its photograph."""
        masks = LabelFiles(self.raw, self.pattern)
        files = {
            one.id: tuple(path for name in self._paths(one) if (path := masks.take(name, one.path)) is not None)
            for one in photographs
        }
        problems = {
            one.id: f"{one.path}: no mask such as {self.raw / self._paths(one)[1]}; every photograph needs one at least"
            for one in photographs
            if not files[one.id]
        }
        strangers = self._unknown(photographs, masks)
        return FoundLabels(
            {key: paths for key, paths in files.items() if key not in problems | strangers},
            problems | strangers,
            notes=masks.unused(),
        )

    def _unknown(self, photographs: Sequence[Photograph], masks: LabelFiles) -> dict[str, str]:
        """Photograph's id -> its mask of a class that the label set lacks, and the nearest name."""
        around: dict[str, dict[str, Photograph]] = defaultdict(dict)
        """Text before the class's name -> text after it -> photograph."""
        for one in photographs:
            before, *_, after = self.pattern.fill(one.wildcards, {**one.fields, "class": "\0"}).split("\0")
            around[before][small_suffix(after)] = one
        problems: dict[str, str] = {}
        for path in masks.left():
            name = path.relative_to(self.raw).as_posix()
            if found := _owner(small_suffix(name), around):
                one, word = found
                masks.take(name, one.path)
                problems[one.id] = (
                    f"{path}: {word!r} is no class of {self.label_set.name} "
                    f"({', '.join(self._names)}){nearest(word, self._names)}"
                )
        return problems

    def read(self, item: Item, size: tuple[int, int]) -> LabelMap:
        """Paint the masks of one photograph, in the order of the label set."""
        classes = self._classes(item)
        label: np.ndarray | None = None
        claims: np.ndarray | None = None
        for path in item.files[1:]:
            mask = _mask(path)
            if label is None or claims is None:
                label, claims = np.zeros(mask.shape, np.uint8), np.zeros(mask.shape, np.uint8)
            if mask.shape != label.shape:
                (h, w), (height, width) = mask.shape, label.shape
                raise DatasetError(f"{path}: {w} x {h}, {item.files[1].name} is {width} x {height}; save all alike")
            label[mask] = classes[path]
            claims += mask & (classes[path] != IGNORE)
        assert label is not None and claims is not None
        return LabelMap(label, int((claims > 1).sum()))

    def _classes(self, item: Item) -> dict[Path, int]:
        """Mask -> id of its class."""
        found = self.images.match(item.files[0].relative_to(self.raw).as_posix())
        assert found is not None
        paths = {small_suffix(path.relative_to(self.raw).as_posix()): path for path in item.files[1:]}
        names = self._paths(Photograph(item.id, item.files[0], found.wildcards, found.fields))
        ids = (*range(len(self.label_set)), IGNORE)
        keys = zip(map(small_suffix, names), ids, strict=False)
        return {paths[key]: i for key, i in keys if key in paths}

    def describe(self) -> dict[str, Any]:
        """Facts that the labels depend on."""
        return {"labels": self.pattern.text}


def _owner(name: str, around: Mapping[str, Mapping[str, Photograph]]) -> tuple[Photograph, str] | None:
    """The photograph of a mask and the class's name, by the texts around that name; None where it has none."""
    for end in range(len(name), -1, -1):
        afters = around.get(name[:end], {})
        for start in range(end + 1, len(name) + 1) if afters else ():
            if one := afters.get(name[start:]):
                return one, name[end:start]
    return None


def _mask(path: Path) -> np.ndarray:
    """H x W bool: True inside a mask."""
    found = decode_picture(read_bytes(path), str(path))
    if found.frames > 1:
        raise DatasetError(f"{path}: holds {found.frames} pictures, and a mask is one; save the right one alone")
    light = found.own[..., :3].max(axis=2)
    if found.rgba is not None:
        opaque = found.rgba[..., 3] > 127
        if opaque.any() and light[opaque].min() <= 127 < light[opaque].max():
            raise DatasetError(f"{path}: has transparent parts, and black and white ones; save it in black and white")
        return opaque
    most = int(light.max(initial=0))
    if most < 128 and len(np.unique(light)) > 2:
        raise DatasetError(f"{path}: has several values from 0 to {most}, and a mask is black and white; save it so")
    return light > most // 2
