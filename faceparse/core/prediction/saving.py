"""Saves the outputs of `predict`, for a photograph and for a frame."""

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from faceparse.core.annotations.labelme import encode_labelme
from faceparse.core.datasets.layout import SPLITS
from faceparse.core.datasets.shard_parquet import must_have_pyarrow
from faceparse.core.errors import OutputError, SettingsError
from faceparse.core.faces.crops import Crop, PictureLabels
from faceparse.core.faces.outline import Outline
from faceparse.core.files.writing import make_folder, write_atomic
from faceparse.core.images.encoding import encode_jpeg, encode_png
from faceparse.core.images.matrices import encode_matrix
from faceparse.core.images.overlay import cut_out, overlay
from faceparse.core.images.palette import write_palette_png
from faceparse.core.images.read_photograph import Picture
from faceparse.core.labels.label_set import LabelSet, nearest
from faceparse.core.prediction.input_shard import InputShard
from faceparse.core.prediction.part_row import PART_SUFFIXES

ONE_EACH = ("masks", "npy", "probabilities", "labelme")
"""Kinds of output that are further files of each photograph."""
OF_ALL = ("coco", "cvat", "labelstudio")
"""Kinds of output that are one file of all photographs."""
KINDS = ("labels", "overlays", "cutouts", "alpha", "json", "instances", "crops", *ONE_EACH, *OF_ALL)

ENDINGS = {
    **dict.fromkeys(("labels", "cutouts", "alpha", "instances"), ".png"),
    **dict.fromkeys(("json", "labelme"), ".json"),
    **dict.fromkeys(("npy", "probabilities"), ".npy"),
    "overlays": ".jpg",
}
"""Kind of output that is one file of each photograph -> how the file's name ends."""

OF_CLASSES = frozenset({"cutouts", "alpha", "masks"})
"""Kinds of output that keep chosen classes alone."""
OF_ANSWERS = frozenset({"alpha", "crops", "probabilities"})
"""Kinds of output that are made of the network's answers, and not of the labels alone."""
OUTLINED = frozenset({"cutouts", "masks"})
"""Kinds of output whose edge can be moved and faded."""
PHOTOGRAPHS_ALONE = frozenset({"instances", "crops", *ONE_EACH, *OF_ALL})
"""Kinds of output that videos do not have."""


IN_PARTS = ("labels", "coco")
"""Kinds of output that parts can hold. What `json` would have is always in them."""
FILES = "files"
"""Outputs are files of their own."""


@dataclass(frozen=True)
class Outputs:
    """Kinds of output to save, and the folder. Methods save nothing for kinds that are not wanted."""

    folder: Path
    label_set: LabelSet
    kinds: tuple[str, ...]
    shown: tuple[int, ...]
    """Classes that a cut-out and an alpha keep, and that have masks."""
    model: str
    """Where the network is from, for the JSON."""
    outline: Outline = field(default_factory=Outline)
    """How far cut-outs and masks reach beyond their classes, and how soft their edge is."""
    to: str = FILES
    """`files`, or the kind of parts that hold many photographs, one of `PART_SUFFIXES`: see `output_parts`."""
    shard: InputShard | None = None
    """Shard that this process parses, which its parts are named by."""

    def path(self, kind: str, name: str, suffix: str) -> Path:
        """Path of an output file."""
        return self.folder / kind / f"{name}{suffix}"

    def files(self, name: str, faces: int | None) -> Iterator[str]:
        """Yield the paths of all files that a photograph has of its own.

        Args:
            faces: number of its faces; None if it was parsed as a whole.
        """
        for kind in self.kinds:
            start = f"{self.folder}{os.sep}{kind}{os.sep}{name}"
            if kind in ENDINGS:
                yield start + ENDINGS[kind]
            elif kind == "masks":
                names = mask_names(self.label_set)
                yield from (f"{start}{os.sep}{names[id_]}.png" for id_ in self.shown)
            elif kind == "crops":
                numbers = range(1 if faces is None else faces)
                yield from (f"{start}{os.sep}{i}{end}" for i in numbers for end in (".jpg", ".png", ".npy"))

    def save_picture(self, name: str, picture: Picture, parsed: PictureLabels, crops: Sequence[Crop]) -> None:
        """Save the label map, the overlay, the cut-out and the masks of a photograph."""
        label = parsed.label
        self.save_label(name, label)
        if "overlays" in self.kinds:
            painted = overlay(picture.image, label, self.label_set.palette())
            write_atomic(self.path("overlays", name, ".jpg"), encode_jpeg(painted))
        self.save_cutout(name, picture.own, parsed, crops)
        self._save_masks(name, parsed, crops)
        if "npy" in self.kinds:
            write_atomic(self.path("npy", name, ".npy"), encode_npy(label))

    def save_label(self, name: str, label: np.ndarray) -> None:
        """Save a label map as a palette PNG."""
        if "labels" in self.kinds:
            write_palette_png(self.path("labels", name, ".png"), label, self.label_set.palette())

    def save_cutout(self, name: str, image: np.ndarray, parsed: PictureLabels, crops: Sequence[Crop]) -> None:
        """Save the classes that are kept as a PNG, transparent elsewhere."""
        if "cutouts" in self.kinds:
            mask = self.outline.mask(parsed, crops, self.shown)
            write_atomic(self.path("cutouts", name, ".png"), encode_png(cut_out(image, mask)))

    def _save_masks(self, name: str, parsed: PictureLabels, crops: Sequence[Crop]) -> None:
        if "masks" in self.kinds:
            files = mask_names(self.label_set)
            for id_ in self.shown:
                mask = self.outline.mask(parsed, crops, (id_,))
                write_atomic(self.path("masks", f"{name}/{files[id_]}", ".png"), encode_png(mask))

    def save_alpha(self, name: str, mask: np.ndarray) -> None:
        """Save a soft mask of the classes that are kept, H x W uint8, as a grey PNG."""
        write_atomic(self.path("alpha", name, ".png"), encode_png(mask))

    def save_instances(self, name: str, owner: np.ndarray) -> None:
        """Save the number of each pixel's face, counted from 1, as a PNG: 8 bits up to 255 faces, else 16."""
        if "instances" in self.kinds:
            narrow = owner.astype(np.uint8) if owner.max(initial=0) < 256 else owner
            write_atomic(self.path("instances", name, ".png"), encode_png(narrow))

    def save_labelme(self, name: str, where: str, parsed: PictureLabels) -> None:
        """Save LabelMe's file of a photograph, which leads to the photograph at `where`."""
        if "labelme" in self.kinds:
            path = self.path("labelme", name, ".json")
            there = os.path.relpath(os.path.realpath(where), os.path.realpath(path.parent)).replace(os.sep, "/")
            write_atomic(path, encode_labelme(there, parsed.label, parsed.owner, self.label_set))

    def save_crop(self, name: str, number: int, crop: Crop, answer: np.ndarray) -> None:
        """Save a face as the network saw it: photograph, labels, and the matrix photograph -> crop."""
        if "crops" in self.kinds:
            name = f"{name}/{number}"
            write_atomic(self.path("crops", name, ".jpg"), encode_jpeg(crop.image))
            write_palette_png(
                self.path("crops", name, ".png"), answer.argmax(axis=0).astype(np.uint8), self.label_set.palette()
            )
            write_atomic(self.path("crops", name, ".npy"), encode_matrix(crop.matrix))

    def save_json(self, name: str, content: dict[str, Any]) -> None:
        """Save `content` as JSON, even if that kind is not wanted."""
        write_atomic(self.path("json", name, ".json"), (json.dumps(content, indent=2) + "\n").encode())

    def describe(self, where: str, size: Sequence[int]) -> dict[str, Any]:
        """Content that the JSON of a photograph and of a video share."""
        height, width = size[:2]
        return {
            "source": where,
            "model": self.model,
            "label_set": self.label_set.name,
            "width": width,
            "height": height,
        }

    def areas(self, pixels: np.ndarray) -> dict[str, dict[str, float]]:
        """Number and share of pixels by class name; `pixels` are counts by id."""
        return {
            name: {"pixels": int(count), "fraction": round(float(count / pixels.sum()), 6)}
            for name, count in zip(self.label_set.names, pixels, strict=True)
        }


def encode_npy(array: np.ndarray) -> bytes:
    """File of an array, as `np.load` reads it."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def mask_names(label_set: LabelSet) -> tuple[str, ...]:
    """Names of the classes' mask files, without suffix: what no file name may hold becomes `_`.

    Raises:
        SettingsError: two classes would have the same file.
    """
    names = tuple(re.sub(r"[^\w.-]|^\.", "_", name) for name in label_set.names)
    seen: dict[str, str] = {}
    for file, name in zip(names, label_set.names, strict=True):
        if (other := seen.setdefault(file.casefold(), name)) != name:
            raise SettingsError(f"--save masks: {other!r} and {name!r} would both be written as {file}.png; rename one")
    return names


def choose_kinds(save: str) -> tuple[str, ...]:
    """Return the kinds of output in `labels,coco`.

    Raises:
        SettingsError: a kind is unknown.
    """
    kinds = tuple(dict.fromkeys(part.strip() for part in save.split(",")))
    for kind in kinds:
        if kind not in KINDS:
            raise SettingsError(f"--save {kind!r}: not one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    return kinds


def choose_form(to: str, kinds: tuple[str, ...] | None) -> None:
    """Check where outputs of photographs go.

    Raises:
        SettingsError: no such form, or it cannot hold one of the `kinds`.
        ResourceError: the package for Parquet is not installed.
    """
    forms = (FILES, *PART_SUFFIXES)
    if to not in forms:
        raise SettingsError(f"--to {to!r}: not one of {', '.join(forms)}{nearest(to, forms)}")
    if to == FILES:
        return
    for kind in kinds or ():
        if kind not in IN_PARTS:
            raise SettingsError(
                f"--save {kind}: --to {to} holds {' and '.join(IN_PARTS)} alone, always with areas and faces; leave "
                f"{kind} out, or use --to files"
            )
    if to == "parquet":
        must_have_pyarrow()


def choose_classes(classes: str | None, label_set: LabelSet) -> tuple[int, ...]:
    """Return the ids of `hair,mouth`, classes or merged names; for None, all ids but 0, the background.

    Raises:
        SettingsError: a class is unknown.
    """
    if classes is None:
        return tuple(range(1, len(label_set)))
    return label_set.resolve((part.strip() for part in classes.split(",")), "--classes")


def make_output_folder(folder: Path) -> None:
    """Create the folder for outputs.

    Raises:
        OutputError: it cannot be written, or holds a dataset.
    """
    if any((folder / f"{split}_list.txt").exists() for split in SPLITS):
        raise OutputError(f"{folder}: holds a dataset, whose labels would be overwritten; choose another --output")
    make_folder(folder)
