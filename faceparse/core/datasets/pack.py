"""Pack a prepared dataset into shards: a few large files, for file systems that many small ones slow down."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from faceparse.core.datasets.dataset_groups import GROUPS_FILE
from faceparse.core.datasets.edges import label_edges
from faceparse.core.datasets.layout import (
    LABEL_NAMES_FILE,
    LABEL_SET_FILE,
    SPLITS,
    DatasetFolder,
    Sample,
    name_within,
)
from faceparse.core.datasets.prepare_record import MANIFEST, RECORD
from faceparse.core.datasets.shard import COLUMNS, Row, Shard
from faceparse.core.datasets.shard_index import write_index
from faceparse.core.datasets.shard_parquet import must_have_pyarrow, write_parquet
from faceparse.core.datasets.shard_tar import write_tar
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files.reading import count_bytes, read_bytes
from faceparse.core.files.writing import cannot_write, refuse_other_files, write_atomic, write_folder_with
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import nearest
from faceparse.core.machine.parallel import Track, map_files, untracked

WRITERS: dict[str, tuple[str, Callable[[Path, Iterable[Row]], Shard]]] = {
    "webdataset": (".tar", write_tar),
    "parquet": (".parquet", write_parquet),
}
"""Kind of shards -> suffix of their files, function that writes one."""
SHARD_BYTES = 256 * 2**20
"""Bytes of photographs and labels in a shard, about."""


@dataclass(frozen=True)
class PackReport:
    """Result of `pack`."""

    splits: dict[str, int]
    """Split -> number of its photographs."""
    shards: int


def pack(
    root: Path,
    out: Path,
    *,
    to: str,
    shard_bytes: int = SHARD_BYTES,
    processes: int = 1,
    track: Track = untracked,
) -> PackReport:
    """Write all photographs of a prepared dataset's lists, their labels and edge maps to shards in `out`.

        pack(Path("dataset/LaPa"), Path("dataset/LaPa-shards"), to="webdataset")

    Lists, label set, groups and the record of the preparation are copied as they are, so that all commands read `out`
    like `root`. Edge maps are made from the labels. `out` appears once all is written.

    Args:
        to: webdataset (tar) or parquet.
        shard_bytes: bytes of photographs and labels in a shard, about; a split's last shard is smaller.

    Raises:
        SettingsError: no such kind of shards.
        ResourceError: the package for Parquet is not installed.
        DatasetError: the dataset cannot be read, or an edge map is not that of its label.
        OutputError: `out` cannot be written, or holds something.
    """
    check_kind(to)
    folder = DatasetFolder(root)
    present = [split for split in SPLITS if folder.list_path(split).is_file()] or ["train"]  # which raises
    samples = {split: list(dict.fromkeys(folder.samples(split))) for split in present}
    refuse_other_files(out, ())
    suffix = WRITERS[to][0]
    todo = [
        (f"{split}-{number:05d}{suffix}", part)
        for split in present
        for number, part in enumerate(_divide(samples[split], shard_bytes))
    ]

    def fill(new: Path) -> None:
        work = partial(_write, root, new, to)
        shards = list(track(map_files(work, todo, processes), len(todo), "shards"))
        lists = (folder.list_path(split).name for split in present)
        for name in (*lists, LABEL_SET_FILE, LABEL_NAMES_FILE, GROUPS_FILE, MANIFEST, RECORD):
            if (root / name).is_file():
                write_atomic(new / name, read_bytes(root / name))
        write_index(new, shards)

    write_folder_with(out, fill)
    return PackReport({split: len(samples[split]) for split in present}, len(todo))


def check_kind(to: str) -> None:
    """Raise an error where shards of this kind cannot be written.

    Raises:
        SettingsError: there is no such kind.
        ResourceError: its package is not installed.
    """
    if to not in WRITERS:
        raise SettingsError(f"--to {to!r}: not one of {', '.join(WRITERS)}{nearest(to, WRITERS)}")
    if to == "parquet":
        must_have_pyarrow()


def _divide(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    part: list[Sample] = []
    held = 0
    for sample in samples:
        part.append(sample)
        held += count_bytes(sample.image) + count_bytes(sample.label)
        if held >= size:
            yield part
            part, held = [], 0
    if part:
        yield part


def _write(root: Path, folder: Path, to: str, shard: tuple[str, Sequence[Sample]]) -> Shard:
    name, samples = shard
    try:
        return WRITERS[to][1](folder / name, (_row(root, sample) for sample in samples))
    except OSError as error:
        raise cannot_write(folder / name, error) from None


def _row(root: Path, sample: Sample) -> Row:
    files = {file: getattr(sample, file) for file in COLUMNS if file == "edge" or getattr(sample, file).is_file()}
    contents = {file: _edge(sample) if file == "edge" else read_bytes(path) for file, path in files.items()}
    return Row(sample.id, {file: name_within(root, path) for file, path in files.items()}, contents)


def _edge(sample: Sample) -> bytes:
    edge = label_edges(read_label(sample.label))
    if sample.edge.is_file() and not np.array_equal(read_label(sample.edge), edge):
        raise DatasetError(f"{sample.edge}: not the edge map of its label; run 'faceparse edges --force' before")
    return encode_png(edge)
