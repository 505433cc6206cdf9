"""Photographs on disk -> label PNGs and overlays on disk."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from faceparse.core.data.loader import Loader
from faceparse.core.datasets.layout import SPLITS
from faceparse.core.errors import DatasetError, FaceparseError, OutputError
from faceparse.core.evaluation.pictures import overlay
from faceparse.core.files import IMAGE_SUFFIXES, encode_jpeg, make_folder, read_image, write_atomic, write_palette_png
from faceparse.core.inference import Parser
from faceparse.core.labels import LabelSet
from faceparse.core.parallel import Track, default_processes, untracked


@dataclass
class PredictReport:
    done: int = 0
    broken: list[str] = field(default_factory=list)
    """One line for each photograph that could not be read."""


class _Photo(NamedTuple):
    path: Path
    image: np.ndarray | None
    problem: str = ""


class _Photos(Dataset[_Photo]):
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> _Photo:
        try:
            return _Photo(self.paths[index], read_image(self.paths[index]))
        except FaceparseError as error:  # one broken photograph must not cost the others
            return _Photo(self.paths[index], None, str(error))


def predict_files(
    parser: Parser,
    label_set: LabelSet,
    inputs: Sequence[Path],
    out: Path,
    *,
    batch_size: int = 4,
    track: Track = untracked,
) -> PredictReport:
    """Write out/labels/<name>.png (palette PNG) and out/overlays/<name>.jpg for every photograph in `inputs`.

    Raises:
        DatasetError: an input does not exist, or two photographs would have the same name.
        OutputError: `out` cannot be written.
    """
    paths = list_images(inputs)
    names = _names(paths)
    if any((out / f"{split}_list.txt").exists() for split in SPLITS):
        raise OutputError(f"{out}: holds a dataset, whose labels would be overwritten; choose another --output")
    make_folder(out)
    report = PredictReport()
    workers = min(default_processes(), 8, len(paths) // (2 * batch_size))  # few photographs do not repay a process
    loader = Loader(_Photos(paths), list, device=parser.device, workers=workers, batch_size=batch_size)
    for photo, label in track(_parsed(parser, loader), len(paths), "predict"):
        if photo.image is None or label is None:
            report.broken.append(photo.problem)
            continue
        name = names[photo.path]
        palette = label_set.palette()
        write_palette_png(out / "labels" / f"{name}.png", label, palette)
        write_atomic(out / "overlays" / f"{name}.jpg", encode_jpeg(overlay(photo.image, label, palette)))
        report.done += 1
    return report


def _parsed(parser: Parser, batches: Iterable[list[_Photo]]) -> Iterator[tuple[_Photo, np.ndarray | None]]:
    for batch in batches:
        images = [photo.image for photo in batch if photo.image is not None]
        labels = iter(parser.parse(images) if images else [])
        for photo in batch:
            yield photo, (next(labels) if photo.image is not None else None)


def list_images(inputs: Sequence[Path]) -> list[Path]:
    """Images that are named, and those in folders that are named, each once."""
    found: dict[Path, None] = {}
    for path in inputs:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise DatasetError(f"{path}: no images in it ({', '.join(IMAGE_SUFFIXES)})")
            found.update(dict.fromkeys(inside))
        elif path.is_file():
            found[path] = None
        else:
            raise DatasetError(f"{path}: no such image or folder")
    return list(found)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Photograph -> name of its outputs: the stem, with the suffix where `a.jpg` lies beside `a.png`."""
    stems = Counter(path.stem for path in paths)
    names = {path: path.stem if stems[path.stem] == 1 else path.name.replace(".", "_") for path in paths}
    clash = [name for name, count in Counter(names.values()).items() if count > 1]
    if clash:
        raise DatasetError(
            f"two inputs would both be written as {clash[0]!r}; run predict once per folder, each with its own --output"
        )
    return names
