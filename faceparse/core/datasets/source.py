"""What a raw dataset must offer, and how any of them becomes the canonical layout.

A new source is one new file with a class like `Source`, and a line in `commands/prepare.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tomli_w

from faceparse.core.datasets.layout import SPLITS, write_label_set
from faceparse.core.errors import DatasetError, FaceparseError, OutputError
from faceparse.core.files import encode_jpeg, encode_png, make_folder, write_atomic
from faceparse.core.labels import IGNORE, LabelSet
from faceparse.core.parallel import Track, map_files, untracked

MANIFEST = "prepared.toml"


@dataclass(frozen=True)
class Item:
    """One photograph of a raw dataset, not read yet."""

    id: str
    """Name of its files in the canonical layout."""
    split: str
    image: Path | None = None
    label: Path | None = None


@dataclass(frozen=True)
class Pair:
    """One photograph and its label, as they go to disk."""

    image: np.ndarray | bytes
    """H x W x 3 uint8 RGB, or the bytes of a JPEG that is kept as it is."""
    label: np.ndarray
    """H x W uint8 class ids."""
    size: tuple[int, int]
    """Height and width of the image."""


class Source(Protocol):
    """A raw dataset. Picklable: `load` runs in other processes."""

    label_set: LabelSet

    def items(self) -> Sequence[Item]:
        """Every photograph with its split, without reading any."""

    def load(self, item: Item) -> Pair:
        """Read one photograph and its label."""

    def describe(self) -> dict[str, Any]:
        """What the result depends on: written into the dataset folder, and compared on a second run."""


@dataclass(frozen=True)
class PrepareReport:
    splits: dict[str, int]
    """Split -> photographs."""


def prepare(source: Source, out: Path, *, processes: int = 1, track: Track = untracked) -> PrepareReport:
    """Write `source` to `out` in the canonical layout. The lists come last: a half-done folder has none.

    Raises:
        DatasetError: the source cannot be read; all broken photographs are named in one message.
        OutputError: `out` cannot be written, or holds something else.
    """
    items = sorted(source.items(), key=lambda item: item.id)
    if not items:
        raise DatasetError("the source holds no photographs")
    _claim(out, source)
    broken: list[str] = []
    for problem in track(map_files(partial(_write, source, out), items, processes), len(items), "prepare"):
        if problem:
            broken.append(problem)
    if broken:
        more = f"; and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise DatasetError(f"{len(broken)} of {len(items)} could not be prepared: {'; '.join(broken[:10])}{more}")
    write_label_set(out, source.label_set)
    splits = {split: [item.id for item in items if item.split == split] for split in SPLITS}
    for split, ids in splits.items():
        if ids:
            lines = "".join(f"images/{name}.jpg labels/{name}.png\n" for name in ids)
            write_atomic(out / f"{split}_list.txt", lines.encode())
    return PrepareReport({split: len(ids) for split, ids in splits.items() if ids})


def _claim(out: Path, source: Source) -> None:
    """Mark `out` as this source's, unless it is somebody else's."""
    manifest = out / MANIFEST
    make_folder(out)
    described = source.describe()
    finished = any((out / f"{split}_list.txt").exists() for split in SPLITS)
    if manifest.is_file():
        if finished and manifest.read_text("utf-8") != tomli_w.dumps(described):
            raise OutputError(
                f"{out}: was prepared from another source or with other options (see {manifest.name}); "
                "choose another folder"
            )
    elif finished or any((out / name).exists() for name in ("images", "labels")):
        raise OutputError(
            f"{out}: already holds a dataset that 'faceparse prepare' did not write; choose another folder"
        )
    write_atomic(manifest, tomli_w.dumps(described).encode())


def _write(source: Source, out: Path, item: Item) -> str | None:
    """Write one photograph; returns what is wrong with it, if anything."""
    try:
        pair = source.load(item)
        _validate(pair, item, len(source.label_set))
    except OutputError:
        raise
    except FaceparseError as error:
        return str(error)
    image = pair.image if isinstance(pair.image, bytes) else encode_jpeg(pair.image)
    write_atomic(out / "images" / f"{item.id}.jpg", image)
    write_atomic(out / "labels" / f"{item.id}.png", encode_png(pair.label))
    return None


def _validate(pair: Pair, item: Item, classes: int) -> None:
    if pair.label.shape != pair.size:
        (h, w), (height, width) = pair.label.shape, pair.size
        raise DatasetError(f"{item.label or item.id}: label is {w} x {h}, its image {width} x {height}")
    bad = [int(value) for value in np.unique(pair.label) if classes <= value != IGNORE]
    if bad:
        raise DatasetError(
            f"{item.label or item.id}: value {bad[0]} is not one of the {classes} classes "
            f"(0 to {classes - 1}, {IGNORE} ignored)"
        )


def nearest_colour(picture: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """H x W x 3 uint8 RGB -> H x W uint8 ids of the nearest palette (C x 3 uint8) colour; ties to the lower id."""
    pixels = picture.astype(np.int32)
    distances = np.stack([((pixels - colour) ** 2).sum(axis=2) for colour in palette.astype(np.int32)])
    return distances.argmin(axis=0).astype(np.uint8)


def split_by_share(ids: Iterable[str], *, val: float, test: float, seed: int) -> dict[str, str]:
    """id -> split, shuffled by `seed`; a share above 0 gives at least one photograph."""
    ordered = sorted(ids)
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    counts = [max(1, round(share * len(ordered))) if share > 0 else 0 for share in (test, val)]
    if sum(counts) >= len(ordered):
        raise DatasetError(
            f"{len(ordered)} photographs leave none to train on with val share {val} and test share {test}"
        )
    split = dict.fromkeys(shuffled, "train")
    split.update(dict.fromkeys(shuffled[: counts[0]], "test"))
    split.update(dict.fromkeys(shuffled[counts[0] : sum(counts)], "val"))
    return split
