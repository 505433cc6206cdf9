"""Rewrites labels of a foreign class order in the label set's order: in place, and never twice.

First, all remapped files are written into a folder beside the labels. Renaming this folder is the decision. Before it,
the labels are as they were, and the folder is thrown away. After it, folders change places, which can be finished at
any time.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from faceparse.core.checking.class_orders import detect_order, order_table
from faceparse.core.checking.moments import Moments, label_moments, stack_moments
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, resolve_label_set
from faceparse.core.errors import DatasetError, OutputError
from faceparse.core.files.locks import have_locks
from faceparse.core.files.reading import read_bytes
from faceparse.core.files.writing import cannot_write, refuse_links_out, write_atomic
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.read_label import read_label
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, map_files, untracked
from faceparse.core.settings import DataSettings
from faceparse.core.text.paths import files_below

FOLDERS = ("labels_raw", "labels")
UNDECIDED, DECIDED, REPLACED = ".remap.tmp", ".remap", ".remap/replaced"


@dataclass(frozen=True)
class RemapReport:
    """Result of a remap."""

    order: str | None
    """The foreign order that was found. None: the labels were not changed."""
    files: int
    """Number of label pictures that were rewritten."""
    finished: bool
    """Whether an earlier remap, which was cut short, was finished first."""


def remap_labels(
    root: Path, *, dataset: str | None = None, processes: int = 1, track: Track = untracked
) -> RemapReport:
    """Rewrite all of `root/labels` and `root/labels_raw` in the label set's order, if they look like another order.

    Palette and 16-bit pictures become 8-bit single-channel ones; files that are no PNG are kept.

    Args:
        dataset: label set, where the folder does not name it.

    Raises:
        DatasetError: no lists, a file that cannot be read, or a listed label outside `labels/`; nothing was changed.
        OutputError: the folder cannot be written, or another remap is at work.
    """
    with _alone(root):
        _refuse_links(root)
        finished = _is_decided(root)
        if finished:
            _exchange(root)
        folder = DatasetFolder(root)
        if folder.packed:
            raise DatasetError(
                f"{root}: shards are not rewritten; remap the dataset that they were made of, and pack it"
            )
        if linked := [root / name for name in FOLDERS if (root / name).is_symlink()]:  # they will be renamed
            raise DatasetError(f"{linked[0]}: a link, which a remap would replace; move its folder here for that")
        present = [split for split in SPLITS if folder.list_path(split).is_file()] or [
            "train"
        ]  # without a list, `samples` raises
        listed = (sample.label for split in present for sample in folder.samples(split))
        labels = list(dict.fromkeys(label for label in listed if isinstance(label, Path)))
        label_set = resolve_label_set(DataSettings(root=root, label_set=dataset))
        order = _find_order(labels, label_set, processes, track)
        if order is None or order == label_set.name:
            return RemapReport(None, 0, finished)
        files = _files(root, labels)
        rewrite = partial(_rewrite, root, order_table(order, label_set))
        _discard(root / UNDECIDED)
        for _ in track(map_files(rewrite, files, processes), len(files), "remap"):
            pass
        _rename(root / UNDECIDED, root / DECIDED)
        _exchange(root)
    return RemapReport(order, sum(map(_is_png, files)), finished)


def must_not_be_half_remapped(root: Path) -> None:
    """Raise DatasetError if a remap of this dataset was cut short."""
    if _is_decided(root):
        raise DatasetError(
            f"{root / DECIDED}: a remap of the labels was cut short; finish it with 'faceparse check {root} --remap'"
        )


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the dataset's lock. Two remaps at once would both find the foreign order and apply it twice."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such dataset folder; make it with 'faceparse prepare'")
    path = root / ".remap.lock"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{root}: another remap is at work; wait for it") from None
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        yield
    finally:
        if have_locks():  # Windows removes no open file, and filelock removes it there at the end
            path.unlink(missing_ok=True)
        lock.release()


def _find_order(labels: Sequence[Path], label_set: LabelSet, processes: int, track: Track) -> str | None:
    read = partial(_read_moments, len(label_set))
    moments = list(track(map_files(read, labels, processes), len(labels), "labels"))
    return detect_order(stack_moments(moments, len(label_set)), label_set)


def _read_moments(classes: int, path: Path) -> Moments:
    return label_moments(read_label(path), classes)


def _files(root: Path, listed: Sequence[Path]) -> list[Path]:
    """All files of both folders, relative to `root`. Raise DatasetError if a listed label is not among them."""
    files = [path.relative_to(root) for name in FOLDERS for path in files_below(root / name) if path.is_file()]
    reached = {root / path for path in files if path.parts[0] == "labels" and _is_png(path)}
    for path in listed:
        if path not in reached:
            raise DatasetError(f"{path}: listed, but no PNG in {root / 'labels'}; move it there before a remap")
    return files


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _rewrite(root: Path, table: np.ndarray, path: Path) -> None:
    source, target = root / path, root / UNDECIDED / path
    write_atomic(target, encode_png(table[read_label(source)]) if _is_png(path) else read_bytes(source))


def _refuse_links(root: Path) -> None:
    """Raise OutputError if a link leads out of the folders of a remap: labels would be moved from or to elsewhere."""
    own = [root / name for name in (UNDECIDED, DECIDED, REPLACED)]
    refuse_links_out(root, *own, *(folder / name for folder in own for name in FOLDERS))


def _is_decided(root: Path) -> bool:
    return (root / DECIDED).is_dir()


def _exchange(root: Path) -> None:
    """Put the remapped folders in the places of the old ones.

    Each step can see which steps are done, so a later call can finish what was cut short. `labels` comes last: it is
    missing until all is done, so nothing can train on labels of two orders.
    """
    waiting = [name for name in FOLDERS if (root / DECIDED / name).is_dir()]
    for name in reversed(waiting):
        if (root / name).exists():
            _rename(root / name, root / REPLACED / name)
    for name in waiting:
        _rename(root / DECIDED / name, root / name)
    _discard(root / DECIDED)


def _rename(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(exist_ok=True)
        source.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error


def _discard(folder: Path) -> None:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
