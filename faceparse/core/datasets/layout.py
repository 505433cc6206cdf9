"""The canonical layout: the files of a prepared dataset on disk.

images/<id>.jpg   labels/<id>.png   edges/<id>.png   {train,val,test}_list.txt   label_names.txt
label_set.toml                       what the ids mean (optional: the paper's own layout has none)
labels_raw/<id>.png project/<id>.npy  label and 2 x 3 matrix aligned -> original, where faces were aligned

Or the lists and the label set alone, beside shards that hold the other files, with an index: see `shard_index.py`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import tomli_w

from faceparse.core.datasets.shard_index import INDEX, read_index
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files.packed import Packed, Stored
from faceparse.core.files.reading import count_bytes, read_bytes
from faceparse.core.files.writing import write_atomic
from faceparse.core.labels.label_set import LabelSet, get_label_set, match_label_names, read_label_set
from faceparse.core.settings import DataSettings
from faceparse.core.text.paths import broken_link, decode_text, leads_out, path_problem

SPLITS = ("train", "val", "test")
LABEL_SET_FILE = "label_set.toml"
LABEL_NAMES_FILE = "label_names.txt"


@dataclass(frozen=True)
class Sample:
    """Files of one photograph. A list names the image and the label; the other files may be missing."""

    id: str
    """Path of the label below `labels/`, without suffix."""
    image: Stored
    label: Stored
    edge: Stored
    label_raw: Stored
    project: Stored


@dataclass(frozen=True)
class ListLine:
    """One line of a split's list."""

    number: int
    """Number of the line, from 1."""
    text: str


class DatasetFolder:
    """A dataset in the canonical layout."""

    def __init__(self, root: Path) -> None:
        """Use the dataset in `root`, which need not exist yet.

        Raises:
            DatasetError: `root` cannot be the name of a folder.
        """
        if problem := path_problem(root):
            raise DatasetError(problem)
        self.root = root

    @cached_property
    def packed(self) -> dict[str, Packed]:
        """Files in shards, by their path in the layout; none where the files are loose.

        Raises:
            DatasetError: the index or a shard is missing or damaged.
        """
        return read_index(self.root)

    def list_path(self, split: str) -> Path:
        """Path of the split's list."""
        return self.root / f"{split}_list.txt"

    def lines(self, split: str) -> list[ListLine]:
        """All lines of the split's list, empty ones too."""
        path = self.list_path(split)
        if not self.root.is_dir():
            if link := broken_link(self.root):
                raise DatasetError(f"{link}; fix the link")
            raise DatasetError(
                f"{self.root}: no such dataset folder; make it with 'faceparse prepare' or give --data-dir"
            )
        if not path.is_file():
            if link := broken_link(path):
                raise DatasetError(f"{link}; fix the link")
            raise DatasetError(f"{path}: no such list; lines are 'images/<id>.jpg labels/<id>.png'")
        try:
            text = decode_text(read_bytes(path))
        except UnicodeDecodeError:
            raise DatasetError(f"{path}: not a text file in UTF-8") from None
        return [ListLine(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]

    def parse(self, split: str, line: ListLine) -> Sample:
        """Files that a list line names.

        Raises:
            DatasetError: the line does not have two fields, or names a file outside the dataset folder.
        """
        where = f"{self.list_path(split)}:{line.number}"
        fields = line.text.split()
        if "\\" in line.text and not (self.root / fields[0]).is_file():  # as Windows writes them
            raise DatasetError(f"{where}: {line.text!r} has backslashes; write / between folders and names")
        if len(fields) > 2:
            raise DatasetError(
                f"{where}: {line.text!r} is not 'images/<id>.jpg labels/<id>.png'; names in a list have no blanks"
            )
        if len(fields) != 2 or not all(PurePosixPath(field).name for field in fields) or "\0" in line.text:
            raise DatasetError(f"{where}: {line.text!r} is not 'images/<id>.jpg labels/<id>.png'")
        image, label = (self._inside(field, where) for field in fields)
        parts = PurePosixPath(fields[1]).parts
        name = str(PurePosixPath(*(parts[1:] or parts)).with_suffix(""))
        return Sample(
            id=name,
            image=image,
            label=label,
            edge=self._file(f"edges/{name}.png"),
            label_raw=self._file(f"labels_raw/{name}.png"),
            project=self._file(f"project/{name}.npy"),
        )

    def samples(self, split: str) -> list[Sample]:
        """Samples of the split. Image and label of each exist; empty lines are skipped.

        Raises:
            DatasetError: no list, no samples, a bad line, or a missing file.
        """
        samples = []
        for line in self.lines(split):
            if not line.text:
                continue
            sample = self.parse(split, line)
            for file in (sample.image, sample.label):
                if isinstance(file, Path) and not file.is_file():
                    raise DatasetError(f"{self.list_path(split)}:{line.number}: {self._why_missing(file)}")
            samples.append(sample)
        if not samples:
            raise DatasetError(f"{self.list_path(split)}: the list is empty")
        return samples

    def _why_missing(self, file: Path) -> str:
        if link := broken_link(file):
            return f"{link}; fix the link"
        if self.packed:
            return f"{file.relative_to(self.root)} is not in {INDEX}; fix the list, or pack the dataset anew"
        return f"{file} is missing; fix the list or add the file"

    def _file(self, name: str) -> Stored:
        """Where the file of this path in the layout is; it need not exist."""
        return self.packed.get(name) or self.root / name

    def _inside(self, field: str, where: str) -> Stored:
        """File that a list names; DatasetError where the name leads out of the dataset folder.

        The path may be a link or lie in a linked folder: photographs may be on another disk.
        """
        path = self.root / field
        if leads_out(self.root, field):
            raise DatasetError(f"{where}: {field!r} lies outside the dataset folder; copy the file into it")
        if problem := path_problem(path):
            raise DatasetError(f"{where}: {problem}")
        return self._file(str(PurePosixPath(field)))


def name_within(root: Path, file: Stored) -> str:
    """Path of a dataset's file relative to its folder, with `/` between names, wherever its bytes are."""
    return file.name if isinstance(file, Packed) else file.relative_to(root).as_posix()


def resolve_label_set(settings: DataSettings) -> LabelSet:
    """Label set of the dataset: the setting's, else that of the dataset's own files, else the paper's set of that size.

    Raises:
        SettingsError, DatasetError: the label set is not known, or disagrees with `num_classes`.
    """
    label_set = _find_label_set(settings)
    if settings.num_classes is not None and settings.num_classes != len(label_set):
        raise SettingsError(
            f"data.num_classes = {settings.num_classes}, but label set {label_set.name!r} of {settings.root} "
            f"has {len(label_set)} classes; drop --num-classes or name the label set with --label-set"
        )
    return label_set


def _find_label_set(settings: DataSettings) -> LabelSet:
    if settings.label_set is not None:
        return get_label_set(settings.label_set)
    by_size = "celebamask-hq" if settings.num_classes == 19 else "helen"
    return folder_label_set(settings.root) or get_label_set(by_size)


def folder_label_set(root: Path) -> LabelSet | None:
    """Label set that the dataset folder itself names; None where it names none, as in the paper's own layout."""
    if (own := root / LABEL_SET_FILE).is_file():
        return read_label_set(own)
    names = root / LABEL_NAMES_FILE
    if not names.is_file():
        return None
    text = decode_text(read_bytes(names), errors="replace")
    found = [line.split()[-1] for line in text.splitlines() if line.strip()]
    if (match := match_label_names(found)) is None:
        raise DatasetError(
            f"{names}: these {len(found)} class names are no built-in set; describe them in a TOML file of --label-set"
        )
    return match


def write_label_set(root: Path, label_set: LabelSet) -> None:
    """Write the label set and its class names into the dataset folder."""
    write_atomic(root / LABEL_SET_FILE, tomli_w.dumps(label_set.to_toml()).encode())
    write_atomic(root / LABEL_NAMES_FILE, ("\n".join(label_set.names) + "\n").encode())


def listing_hash(samples: Iterable[Sample]) -> str:
    """Short hash of the ids and the sizes of their files in bytes: cheap, to notice that a split was changed."""
    digest = hashlib.sha256()
    for sample in samples:
        sizes = (count_bytes(sample.image), count_bytes(sample.label))
        digest.update(f"{sample.id}\0{sizes}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def count_shared(samples: Iterable[Sample], others: Iterable[Sample]) -> int:
    """Number of samples whose label is also that of one of the others."""
    labels = {other.label for other in others}
    return sum(sample.label in labels for sample in samples)


def fingerprint(root: Path, splits: Iterable[str] = SPLITS) -> dict[str, str]:
    """Split -> short hash of its ids, its labels' contents and its images' sizes in bytes, for splits that exist.

    It identifies a dataset wherever it lies. Images are too large to be read just for that.
    """
    source = DatasetFolder(root)
    return {split: fingerprint_of(source.samples(split)) for split in splits if source.list_path(split).is_file()}


def fingerprint_of(samples: Iterable[Sample]) -> str:
    """The same hash of given samples, which need not be a split."""
    digest = hashlib.sha256()
    for part in _content(samples):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _content(samples: Iterable[Sample]) -> Iterator[bytes]:
    for sample in samples:
        yield sample.id.encode()
        yield read_bytes(sample.label)
        yield str(count_bytes(sample.image)).encode()
