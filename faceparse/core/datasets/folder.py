"""Your own folder of photographs and labels, paired by name."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from faceparse.core.datasets.annotated_labels import AnnotatedLabels
from faceparse.core.datasets.class_masks import ClassMasks
from faceparse.core.datasets.dataset_groups import torn
from faceparse.core.datasets.folder_labels import FolderLabels, Photograph
from faceparse.core.datasets.label_pictures import LabelPictures
from faceparse.core.datasets.own_splits import folders_like_splits, splits_of_file, splits_of_folders
from faceparse.core.datasets.photograph_groups import groups_of, is_pattern
from faceparse.core.datasets.photograph_names import PhotographNames
from faceparse.core.datasets.source import Item, OnBroken, Raw, WithoutLandmarks, must_be_a_folder
from faceparse.core.datasets.splits import split_by_hash
from faceparse.core.errors import DatasetError, SettingsError
from faceparse.core.files.reading import read_bytes
from faceparse.core.images.opening import read_orientation
from faceparse.core.images.read_photograph import IMAGE_SUFFIXES, decode_picture
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet, unknown_values
from faceparse.core.labels.mapping import MappingFile, identity, map_classes
from faceparse.core.text.path_pattern import Pattern
from faceparse.core.text.patterns import some, some_names

LABELS = "labels/*.png"
"""Pattern of the labels where none is given."""
SHARE = 0.1
"""Share of val and of test where the dataset has no splits and none is given."""
_ALONE = "\0"
"""End of the name by which a photograph without a group is drawn among groups, which no group has."""


class Folder(WithoutLandmarks):
    """Photographs that match one pattern, and labels that match another with the same wildcards.

    `*` is any name, `**` any folders. `{split}` in the images' pattern is the photograph's split; `{class}` in the
    labels' pattern is a class's name, for one mask a class. Else a label is one picture (`LabelPictures`), or the
    regions in the files of an annotation tool (`AnnotatedLabels`).

    A mapping renames and merges the classes of `label_set`, which are those of the labels.

        Folder(Path("raw"), label_set=get_label_set("helen"), images="photos/*.jpg", labels="masks/*.png")
    """

    def __init__(
        self,
        raw: Path,
        *,
        label_set: LabelSet,
        mapping: MappingFile | None = None,
        images: str = "images/*",
        labels: str = LABELS,
        annotations: str | None = None,
        ignored: str | None = None,
        splits: str | None = None,
        group: str | None = None,
        val: float | None = None,
        test: float | None = None,
        seed: int = 0,
        on_broken: OnBroken = "fail",
    ) -> None:
        """Use the folder `raw`; no file is read yet.

        Args:
            annotations: file of an annotation tool, or a pattern of such files, in the place of `labels`.
            ignored: id or colour of pixels that do not count, beside 255.
            splits: a CSV, or lists, that say each photograph's split.
            group: a pattern of the ids with `{group}` in it, or a CSV: photographs of a group stay in one split.
            val: share of the photographs for val; of those of train where the dataset has splits of its own.
            on_broken: whether photographs that cannot be prepared are an error, or are left out.

        Raises:
            SettingsError: the options do not fit each other, or a pattern cannot be used.
        """
        self.raw = raw
        self.images = Pattern(images)
        if splits is not None and "split" in self.images.fields:
            raise SettingsError(
                f"--splits {splits}: has no effect, since --images has {{split}}; leave out one of them"
            )
        if on_broken not in ("fail", "skip"):
            raise SettingsError(f"--on-broken {on_broken!r}: not one of fail, skip")
        self.raw_set = label_set
        self.mapping = map_classes(mapping, label_set) if mapping is not None else identity(label_set)
        self.label_set = self.mapping.target
        self.labels = self._labels(labels, annotations, ignored)
        self.splits, self.group = splits, group
        self.has_splits = splits is not None or "split" in self.images.fields
        default = 0.0 if self.has_splits else SHARE
        self.val, self.test = (default if share is None else share for share in (val, test))
        self.seed, self.on_broken = seed, on_broken
        self._notes: list[str] = []
        self._problems: list[str] = []

    def _labels(self, labels: str, annotations: str | None, ignored: str | None) -> FolderLabels:
        if annotations is not None:
            if labels != LABELS or ignored is not None:
                option = "--labels" if labels != LABELS else "--ignored"
                raise SettingsError(f"{option}: is for label pictures; leave it out, or --annotations")
            _must_name_photographs(self.images, self.raw)
            return AnnotatedLabels(self.raw, annotations, self.raw_set)
        pattern = Pattern(labels)
        _must_fit(self.images, pattern, self.raw)
        if "class" in pattern.fields:
            if ignored is not None:
                raise SettingsError(
                    "--ignored: is for label pictures; a mask of ignored pixels has the class 'ignored'"
                )
            return ClassMasks(self.raw, self.images, pattern, self.raw_set)
        return LabelPictures(self.raw, pattern, self.raw_set, ignored)

    def items(self) -> list[Item]:
        """Every photograph with its split, and how its label is read."""
        must_be_a_folder(self.raw)
        self._notes, self._problems = [], []
        photographs = self._photographs()
        found = self.labels.find(photographs)
        taken = {path for files in found.files.values() for path in files}
        photographs = [one for one in photographs if one.path not in taken]  # labels may lie beside the photographs
        self._notes += found.notes
        labelled = [one.id for one in photographs if one.id not in found.problems]
        # Where a missing label is an error, it is the one to tell, not that few photographs are left.
        counted = labelled if labelled and self.on_broken == "skip" else [one.id for one in photographs]
        splits, groups, drawn = self._splits(photographs, counted)
        return [
            Item(
                one.id,
                splits[one.id],
                (one.path, *found.files.get(one.id, ())),
                found.reading,
                groups.get(one.id, ""),
                found.problems.get(one.id, ""),
                one.id in drawn,
            )
            for one in photographs
            if one.id in splits
        ]

    def notes(self) -> Sequence[str]:
        """Notes on files that were passed over, on splits and on groups."""
        return self._notes

    def problems(self) -> Sequence[str]:
        """Lines of lists and tables that cannot be used."""
        return self._problems

    def _photographs(self) -> list[Photograph]:
        seen: dict[str, Path] = {}
        photographs, others = [], []
        for path, match in self.images.files(self.raw):
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                others.append(path)
                continue
            key = _id(match.name)
            if (twin := seen.setdefault(key, path)) != path:
                raise DatasetError(f"{path} and {twin} have the same name; narrow the pattern with --images")
            photographs.append(Photograph(key, path, match.wildcards, match.fields))
        if not photographs:
            raise DatasetError(
                f"{self.raw / self.images.text}: no images; name them with --images 'photos/*.jpg', or "
                "'photos/**/*.jpg' where they lie in folders"
            )
        self._notes += [f"passed over, being no photographs: {some(others)}"] if others else []
        return photographs

    def _splits(
        self, photographs: Sequence[Photograph], counted: Sequence[str]
    ) -> tuple[dict[str, str], dict[str, str], Collection[str]]:
        """Split by id; group by id, of those that have one; and the ids whose split was drawn.

        Args:
            counted: ids of the photographs that shares are shares of.
        """
        names = PhotographNames(photographs, self.raw)
        groups = dict[str, str]()
        if self.group is not None:
            groups, problems, notes = groups_of(photographs, self.group, names)
            self._problems += problems
            self._notes += notes
        if not self.has_splits:
            if words := folders_like_splits(photographs):
                self._notes.append(
                    f"splits are drawn, although folders are named {', '.join(words)}; to keep those, write {{split}} "
                    "there in --images and --labels"
                )
            splits = self._drawn([one.id for one in photographs], groups, counted)
            return splits, groups, splits
        splits = self._own_splits(photographs, names)
        if parts := torn((group, splits[key]) for key, group in groups.items() if key in splits):
            raise DatasetError(f"--group {self.group}: {some_names(parts)}; move each group into one split")
        for option, share, split in (("--val", self.val, "val"), ("--test", self.test, "test")):
            if share > 0 and split in splits.values():
                raise SettingsError(f"{option}: has no effect, since the dataset has its own {split}; leave it out")
        if self.val == self.test == 0:
            return splits, groups, ()
        train = dict.fromkeys(key for key, split in splits.items() if split == "train")
        return splits | self._drawn(train, groups, [key for key in counted if key in train]), groups, train

    def _drawn(self, ids: Iterable[str], groups: Mapping[str, str], counted: Sequence[str]) -> dict[str, str]:
        alone = _ALONE if groups else ""
        unit = {key: groups.get(key, key + alone) for key in ids}
        drawn = split_by_hash({unit[key] for key in counted}, val=self.val, test=self.test, seed=self.seed)
        self._notes += [
            f"{split} would be empty by its share: {name.rstrip(_ALONE)} is lent to it, and may return to train when "
            "photographs are added"
            for split, name in drawn.lent.items()
        ]
        return {key: drawn.of.get(name, "train") for key, name in unit.items()}

    def _own_splits(self, photographs: Sequence[Photograph], names: PhotographNames) -> dict[str, str]:
        if self.splits is None:
            splits = splits_of_folders(photographs)
        else:
            splits, problems = splits_of_file(self.splits, names)
            self._problems += problems
            if not splits:
                raise DatasetError(f"--splits {self.splits}: names no photograph of {self.raw}; {problems[0]}")
            if left := [one.id for one in photographs if one.id not in splits]:
                self._notes.append(f"left out, being in no split: {some_names(left)}")
        if "val" not in splits.values() and self.val == 0:
            self._notes.append("no val, on which the best weights are chosen; --val 0.1 takes a tenth of train for it")
        return splits

    def load(self, item: Item) -> Raw:
        """Read one photograph and its label."""
        image = item.files[0]
        data = read_bytes(image)
        picture = decode_picture(data, str(image))
        label = self.labels.read(item, picture.size)
        return Raw(
            picture.image,
            self._mapped(label.ids, item.files[1]),
            data if data[:2] == b"\xff\xd8" else None,
            read_orientation(data),
            picture.notice or label.notice,
            label.overlapping,
            self._merged(label.ids),
        )

    def _mapped(self, label: np.ndarray, where: Path) -> np.ndarray:
        """The label in the classes of `label_set`. Its values must be known before: a mapping hides the others."""
        if self.mapping.is_identity:
            return label
        if bad := unknown_values(label, len(self.raw_set)):
            raise DatasetError(
                f"{where}: value {bad[0]} is not one of the {len(self.raw_set)} classes of {self.raw_set.name} "
                f"(0 to {len(self.raw_set) - 1}, {IGNORE} ignored); fix the label or name its label set with "
                "--label-set"
            )
        return self.mapping.table[label]

    def _merged(self, label: np.ndarray) -> dict[str, int]:
        """Phrase for each class that the mapping merges or ignores -> its pixels."""
        if self.mapping.is_identity:
            return {}
        pixels, old = np.bincount(label.ravel(), minlength=256), self.raw_set.names
        groups = zip(self.label_set.names, self.mapping.groups, strict=True)
        phrases = {f"{old[i]} in {new}": i for new, ids in groups if len(ids) > 1 for i in ids if old[i] != new}
        phrases |= {f"{old[i]} ignored": i for i in self.mapping.ignored}
        return {phrase: int(pixels[i]) for phrase, i in phrases.items()}

    def describe(self) -> dict[str, Any]:
        """Facts that the result depends on."""
        group = self.group if is_pattern(self.group) else _resolved(self.group)
        given = {"splits": _resolved(self.splits), "group": group}
        return {
            "source": "folder",
            "raw": str(self.raw.resolve()),
            "images": self.images.text,
            **self.labels.describe(),
            "label_set": self.raw_set.to_toml(),
            **({} if self.mapping.is_identity else {"mapping": self.mapping.to_toml()}),
            **{key: value for key, value in given.items() if value is not None},
            "val": self.val,
            "test": self.test,
            "seed": self.seed,
        }


def _resolved(path: str | None) -> str | None:
    """The path from any working folder."""
    return None if path is None else str(Path(path).resolve())


def _must_name_photographs(images: Pattern, raw: Path) -> None:
    """Refuse a pattern that does not say which photographs there are."""
    if Path(images.text).is_absolute():
        raise SettingsError(f"--images {images.text!r}: patterns are relative to {raw}")
    if not images.wildcards or images.fields - {"split"}:
        raise SettingsError(
            f"--images {images.text!r}: write * for a name and ** for any folders, such as 'photos/*.jpg', and no "
            "field but {split}"
        )


def _must_fit(images: Pattern, labels: Pattern, raw: Path) -> None:
    """Refuse patterns that do not say which label belongs to which photograph."""
    both = f"--images {images.text!r} and --labels {labels.text!r}"
    if Path(images.text).is_absolute() or Path(labels.text).is_absolute():
        raise SettingsError(f"{both}: patterns are relative to {raw}")
    if labels.text.lower().endswith(".json"):
        raise SettingsError(
            f"--labels {labels.text!r}: is no picture; --annotations {labels.text!r} reads files of annotation tools"
        )
    if not images.wildcards or images.wildcards != labels.wildcards:
        raise SettingsError(
            f"{both}: write the same wildcards in both, * for a name and ** for any folders, such as 'photos/*.jpg' "
            "and 'masks/*.png', or 'photos/**/*.jpg' and 'masks/**/*.png'"
        )
    for option, pattern, known in (("--images", images, {"split"}), ("--labels", labels, images.fields | {"class"})):
        if unknown := sorted(pattern.fields - known):
            raise SettingsError(
                f"{option} {pattern.text!r}: {{{unknown[0]}}} means nothing there; it may have "
                f"{' and '.join(f'{{{name}}}' for name in sorted(known))}"
            )
    if not PurePosixPath(labels.text).suffix:
        raise SettingsError(
            f"--labels {labels.text!r}: ends without a suffix; write it, such as {labels.text + '.png'!r}"
        )


def _id(name: str) -> str:
    """Id made from a name. Blanks, which separate a list's fields, and characters outside UTF-8 become `_`."""
    return re.sub(r"\s+|[\ud800-\udfff]", "_", name)
