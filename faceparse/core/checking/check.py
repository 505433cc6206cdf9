"""Find everything that is wrong with a dataset, before hours are spent on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from faceparse.core.checking.check_sample import SampleLook, look_at
from faceparse.core.checking.class_orders import detect_order
from faceparse.core.checking.moments import Moments, stack_moments
from faceparse.core.checking.remap import must_not_be_half_remapped
from faceparse.core.checking.shared_images import Picture, shared_images
from faceparse.core.checking.sides import side_problems
from faceparse.core.datasets.coverage import coverage_notes
from faceparse.core.datasets.dataset_groups import GROUPS_FILE, read_groups, torn
from faceparse.core.datasets.layout import SPLITS, DatasetFolder, Sample, resolve_label_set
from faceparse.core.datasets.orientation import drawn_as_stored
from faceparse.core.datasets.shard_index import INDEX
from faceparse.core.errors import DatasetError
from faceparse.core.labels.classes import IGNORE
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.parallel import Track, map_files, untracked
from faceparse.core.settings import DataSettings
from faceparse.core.text.paths import broken_link

EXAMPLES = 12
"""Largest number of examples in a report."""


@dataclass(frozen=True)
class ClassShare:
    """How much of a dataset a class covers."""

    name: str
    share: float
    """Share of all labelled pixels, 0 to 1."""
    images: int
    """Number of labels that hold the class."""


@dataclass(frozen=True)
class ImageSizes:
    """Sizes of a dataset's images, each width and height in pixels, ordered by area."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int


@dataclass(frozen=True)
class CheckReport:
    """Result of a check: problems, notes and statistics."""

    problems: tuple[str, ...]
    """One line per problem: the file, what is wrong, and where it helps, how to fix it."""
    splits: dict[str, int]
    """Number of listed samples by split."""
    label_set: LabelSet
    order: str | None
    """Name of the class order that the labels look like: the label set's or a foreign one. None without a verdict."""
    classes: tuple[ClassShare, ...]
    """Share of each class, in id order."""
    sizes: ImageSizes | None
    """None where no image could be read."""
    examples: tuple[tuple[str, Sample], ...]
    """About 12 pairs of split and sample, spread over the splits; nothing is wrong in these samples' files."""
    notes: tuple[str, ...] = ()
    """One line per fact that is no problem in itself, but that users should know."""


def check_dataset(
    root: Path, *, dataset: str | None = None, processes: int = 1, track: Track = untracked
) -> CheckReport:
    """Read every listed file of every split and report what is wrong.

        check_dataset(Path("dataset/Helen")).problems

    Args:
        dataset: name of the label set, where the folder does not name one.

    Raises:
        DatasetError: `root` is no folder, has no list at all, is half remapped, or has a shard that is not whole.
    """
    folder = DatasetFolder(root)
    must_not_be_half_remapped(root)
    present = [split for split in SPLITS if folder.list_path(split).is_file()]
    if not present:
        folder.lines("train")  # raises: no folder, or no list
    label_set = resolve_label_set(DataSettings(root=root, label_set=dataset))
    problems = [f"{folder.list_path('val')}: missing; best.pth is chosen on it"] if "val" not in present else []
    samples: dict[str, list[Sample]] = {}
    for split in present:
        samples[split], found = _check_list(folder, split)
        problems += found
    every = [(split, sample) for split in present for sample in samples[split]]
    look = partial(look_at, classes=len(label_set))
    files = [sample for _, sample in every]
    looks = list(track(map_files(look, files, processes), len(files), "check"))
    problems += [problem for look in looks for problem in look.problems]
    problems += shared_images(
        [
            Picture(split, sample.image, look.image_hash, look.thumbnail)
            for (split, sample), look in zip(every, looks, strict=True)
        ]
    )
    problems += _groups(root, samples)
    moments = stack_moments([look.moments for look in looks if look.moments], len(label_set))
    order = detect_order(moments, label_set)
    if order in (None, label_set.name):
        problems += side_problems(moments, label_set, root / "labels")
    else:  # left and right mean nothing while the names are wrong
        command = f"faceparse check {root}{f' --label-set {dataset}' if dataset else ''} --remap"
        problems.append(
            f"{root / 'labels'}: the class order looks like {order}, not {label_set.name}; "
            f"run '{command}' to rewrite the labels"
        )
    ignored = sum(look.ignored for look in looks)
    pixels = moments.pixels.sum(axis=0).tolist()
    if len(label_set) == 2 and ignored and not pixels[1] and pixels[0]:
        name, share = label_set.names[1], ignored / (ignored + sum(pixels))
        problems.append(
            f"{root / 'labels'}: {name} is in no label, and {share:.0%} of the pixels are {IGNORE}, which is ignored; "
            f"where it means {name}, write 1 (as 'faceparse prepare folder' does)"
        )
    problems += _edges(
        missing=[sample for sample in samples.get("train", []) if not sample.edge.is_file()],
        outdated=[sample for sample, look in zip(files, looks, strict=True) if look.edge_differs],
        root=root,
    )
    stored = [sample.label for sample, look in zip(files, looks, strict=True) if look.stored]
    if problem := drawn_as_stored(sum(look.turned for look in looks), len(stored)):
        problems.append(f"{stored[0]}: {problem}")
    sound = [named for named, look in zip(every, looks, strict=True) if not look.problems]
    return CheckReport(
        tuple(problems),
        {split: len(samples[split]) for split in present},
        label_set,
        order,
        _class_shares(moments, label_set),
        _image_sizes([look.size for look in looks if look.size]),
        tuple(chosen for split in present for chosen in _spread([s for s in sound if s[0] == split], len(present))),
        tuple(_notes(files, looks, coverage_notes(label_set, pixels, ignored) if len(moments.pixels) else [])),
    )


def _notes(files: Sequence[Sample], looks: Sequence[SampleLook], coverage: Sequence[str]) -> list[str]:
    notes = [*coverage]
    notes += [f"{sample.image}: {look.notice}" for sample, look in zip(files, looks, strict=True) if look.notice]
    if turned := [(sample.image, look.stored) for sample, look in zip(files, looks, strict=True) if look.turned]:
        fit = sum(not stored for _, stored in turned)
        notes.append(
            f"{turned[0][0]}: turned upright by its EXIF orientation, with {len(turned)} in all, and {fit} of their "
            "labels seem to fit them so: look at them with --report"
        )
    return notes


def _class_shares(moments: Moments, label_set: LabelSet) -> tuple[ClassShare, ...]:
    pixels, images = moments.pixels.sum(axis=0), moments.present.sum(axis=0)
    shares = pixels / max(1, pixels.sum())
    return tuple(map(ClassShare, label_set.names, shares.tolist(), images.tolist()))


def _image_sizes(shapes: Sequence[tuple[int, int]]) -> ImageSizes | None:
    if not shapes:
        return None
    sizes = sorted(((width, height) for height, width in shapes), key=lambda size: (size[0] * size[1], size))
    return ImageSizes(sizes[0], sizes[len(sizes) // 2], sizes[-1], len(set(sizes)))


def _spread(sound: Sequence[tuple[str, Sample]], splits: int) -> list[tuple[str, Sample]]:
    """Samples of one split that are shown as examples, spread evenly over its list."""
    count = min(len(sound), EXAMPLES // splits)
    return [sound[i * len(sound) // count] for i in range(count)]


def _check_list(folder: DatasetFolder, split: str) -> tuple[list[Sample], list[str]]:
    """Return the list's samples whose files exist, each once, and the problems of the list."""
    samples: list[Sample] = []
    problems: list[str] = []
    lack = f"is not in {INDEX}" if folder.packed else "is missing"
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
        files = (file for file in (sample.image, sample.label) if isinstance(file, Path))
        missing = [file for file in files if not file.is_file()]
        problems += [f"{where}: {broken_link(file) or f'{file} {lack}'}" for file in missing]
        if not missing:
            samples.append(sample)
    if not first_seen:
        problems.append(f"{folder.list_path(split)}: the list is empty")
    return samples, problems


def _groups(root: Path, samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Problems of groups.csv: a bad line, or a group that is in several splits."""
    try:
        groups = read_groups(root)
    except DatasetError as error:
        return [str(error)]
    listed = [(sample.id, split) for split, of in samples.items() for sample in of]
    found = [(groups[name], split) for name, split in listed if name in groups]
    if groups and listed and not found:
        return [f"{root / GROUPS_FILE}: names no listed photograph; write their ids, such as {listed[0][0]!r}"]
    return [f"{root / GROUPS_FILE}: {one}; move each group into one split" for one in torn(found)]


def _edges(*, missing: Sequence[Sample], outdated: Sequence[Sample], root: Path) -> list[str]:
    """One line for all missing edge maps, one for all wrong ones: one command fixes each kind."""
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
