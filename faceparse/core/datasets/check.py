"""Everything wrong with a dataset, before hours are spent on it."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from faceparse.core.datasets.edges import label_edges
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, Sample, resolve_label_set
from faceparse.core.errors import DatasetError, FaceparseError
from faceparse.core.files import DAMAGED, is_palette_png, read_bytes, read_image, read_label, read_matrix
from faceparse.core.labels import IGNORE
from faceparse.core.parallel import Track, map_files, untracked
from faceparse.core.settings import DataSettings


@dataclass(frozen=True)
class CheckReport:
    problems: tuple[str, ...]
    """One line each: file, what is wrong, and where it helps, how to mend it."""
    splits: dict[str, int]
    """Split -> samples listed."""
    label_set: str


class _Looked(NamedTuple):
    """What was found in one sample's files."""

    problems: list[str]
    image_hash: str | None
    edge_differs: bool


def check_dataset(
    root: Path, *, dataset: str | None = None, processes: int = 1, track: Track = untracked
) -> CheckReport:
    """Read every listed file of every split.

    Args:
        dataset: label set, where the folder does not say it.

    Raises:
        DatasetError: `root` is no folder, or has no list at all.
    """
    folder = DatasetFolder(root)
    present = [split for split in SPLITS if folder.list_path(split).is_file()]
    if not present:
        folder.lines("train")  # raises: no folder, or no list
    label_set = resolve_label_set(DataSettings(root=root, label_set=dataset))
    problems = [f"{folder.list_path('val')}: missing; best.pth is chosen on it"] if "val" not in present else []
    samples: dict[str, list[Sample]] = {}
    for split in present:
        samples[split], found = _check_list(folder, split)
        problems += found
    every = [sample for split in present for sample in samples[split]]
    looks = list(track(map_files(partial(_look, classes=len(label_set)), every, processes), len(every), "check"))
    problems += [problem for look in looks for problem in look.problems]
    hashes = iter(look.image_hash for look in looks)
    problems += _shared({split: [(sample, next(hashes)) for sample in samples[split]] for split in present})
    problems += _edges(
        missing=[sample for sample in samples.get("train", []) if not sample.edge.is_file()],
        outdated=[sample for sample, look in zip(every, looks, strict=True) if look.edge_differs],
        root=root,
    )
    return CheckReport(
        tuple(problems),
        {split: len(samples[split]) for split in present},
        f"{len(label_set)} classes of {label_set.name}",
    )


def _check_list(folder: DatasetFolder, split: str) -> tuple[list[Sample], list[str]]:
    """The samples whose files exist, each once, and what is wrong with the list."""
    samples: list[Sample] = []
    problems: list[str] = []
    first_seen: dict[str, int] = {}
    for line in folder.lines(split):
        where = f"{folder.list_path(split)}:{line.number}"
        if not line.text:
            problems.append(f"{where}: empty line; delete it")
            continue
        fields = " ".join(line.text.split())
        if fields in first_seen:
            problems.append(f"{where}: the same as line {first_seen[fields]}; delete one")
            continue
        first_seen[fields] = line.number
        try:
            sample = folder.parse(split, line)
        except DatasetError as error:
            problems.append(str(error))
            continue
        missing = [file for file in (sample.image, sample.label) if not file.is_file()]
        problems += [f"{where}: {file} is missing" for file in missing]
        if not missing:
            samples.append(sample)
    if not first_seen:
        problems.append(f"{folder.list_path(split)}: the list is empty")
    return samples, problems


def _look(sample: Sample, *, classes: int) -> _Looked:
    problems: list[str] = []
    image = _image_size(sample.image, problems)
    label = _label(sample.label, classes, problems)
    if image is not None and label is not None and label.shape != image:
        problems.append(f"{sample.label}: {_size(label.shape)}, its image is {_size(image)}")
    edge_differs = label is not None and sample.edge.is_file() and _edge_differs(sample, label, problems)
    if sample.project.is_file():
        _label(sample.label_raw, classes, problems)
        try:
            read_matrix(sample.project)
        except FaceparseError as error:
            problems.append(str(error))
    digest = hashlib.sha256(read_bytes(sample.image)).hexdigest() if image is not None else None
    return _Looked(problems, digest, edge_differs)


def _image_size(path: Path, problems: list[str]) -> tuple[int, int] | None:
    try:
        # Pillow is strict where OpenCV fills the missing part of a truncated JPEG with grey.
        with Image.open(path) as picture:
            picture.load()
    except DAMAGED as error:
        problems.append(f"{path}: broken image ({error}); replace the file")
        return None
    try:
        height, width = read_image(path).shape[:2]
        return height, width
    except FaceparseError as error:
        problems.append(str(error))
        return None


def _label(path: Path, classes: int, problems: list[str]) -> np.ndarray | None:
    try:
        label = read_label(path)
    except FaceparseError as error:
        problems.append(str(error))
        return None
    if is_palette_png(path):
        problems.append(
            f"{path}: palette PNG; faceparse reads its indices, other loaders its colours: rewrite it single-channel"
        )
    values, counts = np.unique(label, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        if classes <= value != IGNORE:
            allowed = f"one of the {classes} classes (0 to {classes - 1}, {IGNORE} ignored)"
            problems.append(f"{path}: value {value} on {count} pixels is not {allowed}")
    return label


def _edge_differs(sample: Sample, label: np.ndarray, problems: list[str]) -> bool:
    """Whether the edge map is of another label; judged by content, since a copied file has a new date."""
    try:
        edge = read_label(sample.edge)
    except FaceparseError as error:
        problems.append(str(error))
        return False
    return not np.array_equal(edge, label_edges(label))


def _shared(splits: dict[str, list[tuple[Sample, str | None]]]) -> list[str]:
    """Photographs that stand in two splits, by name or by content."""
    homes: dict[str, dict[str, Path]] = defaultdict(dict)
    for split, samples in splits.items():
        for sample, digest in samples:
            homes[digest or f"unread {sample.image}"].setdefault(split, sample.image)
    return [
        f"{', '.join(map(str, dict.fromkeys(where.values())))}: the same image in {' and '.join(where)}; "
        "scores would be inflated"
        for where in homes.values()
        if len(where) > 1
    ]


def _edges(*, missing: Sequence[Sample], outdated: Sequence[Sample], root: Path) -> list[str]:
    """A line for all that are missing, a line for all that are wrong: one command mends each."""
    problems = []
    if missing:
        problems.append(
            f"{missing[0].edge}: missing, with {len(missing)} edge maps of train in all; run 'faceparse edges {root}'"
        )
    if outdated:
        problems.append(
            f"{outdated[0].edge}: not the edge map of its label, with {len(outdated)} in all; "
            f"run 'faceparse edges {root} --force'"
        )
    return problems


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
