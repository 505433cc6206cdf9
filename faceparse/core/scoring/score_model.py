"""Score a checkpoint on a dataset split, from files to scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from faceparse.core.datasets.dataset_groups import group_numbers
from faceparse.core.errors import CheckpointError
from faceparse.core.images.overlay import overlay
from faceparse.core.images.read_photograph import read_image
from faceparse.core.images.warp import Size
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.labels.mapping import ClassMapping, common_mappings, identity, read_mapping
from faceparse.core.machine.parallel import Track, default_processes, untracked
from faceparse.core.pages.html import shrink
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.mapped import map_model
from faceparse.core.parser.trained import TrainedModel
from faceparse.core.scoring.bootstrap import RESAMPLES
from faceparse.core.scoring.built_in_groups import photograph_groupings
from faceparse.core.scoring.comparison import must_compare
from faceparse.core.scoring.counting import count_samples, parse_samples
from faceparse.core.scoring.groups import Grouping
from faceparse.core.scoring.model_facts import file_facts, measure_speed
from faceparse.core.scoring.protocols import DEFAULT, resolve_protocols
from faceparse.core.scoring.split import Split, find_split
from faceparse.core.scoring.summary import Evaluation, Summary, WorstImage
from faceparse.core.scoring.tta import NONE, Augmentation, augmented_network, check_augmentation

WORST = 12
_PICTURE_SIDE = 512
"""Longer side of the worst images' pictures, in pixels."""


@dataclass(frozen=True)
class EvaluationPlan:
    """Model, photographs and options of an evaluation, checked as far as possible before the network runs."""

    model: TrainedModel
    """The model, in the classes that are scored."""
    split: Split
    truth: ClassMapping
    """From the classes of the split's labels to those that are scored."""
    protocols: list[str]
    input_size: Size
    augmentation: Augmentation

    @property
    def label_set(self) -> LabelSet:
        """Classes that are scored."""
        return self.truth.target

    @property
    def notes(self) -> list[str]:
        """Lines on what a mapping to common classes has merged; empty without one."""
        return list(dict.fromkeys([*self.model.notes, *self.truth.notes()]))

    def name(self, protocols: Sequence[str]) -> str:
        """Name of the evaluation in MLflow and of its folder.

        The plain `test` stands for the run's own dataset and input size, the default protocol, and no augmentation.
        Charts compare these.
        """
        trained = self.model.settings.data
        height, width = self.input_size
        own = self.model.trained_on is not None and self.split.root.resolve() == self.model.trained_on.resolve()
        parts = [
            *([] if own else [self.split.root.name]),
            self.split.name,
            *([] if list(protocols) == [DEFAULT] else ["+".join(protocols)]),
            *([] if self.input_size == trained.input_size else [f"{height}x{width}"]),
            *([self.augmentation.name] if self.augmentation.name else []),
            *([f"as-{self.label_set.name.replace('/', '_')}"] if self.notes else []),
        ]
        return ".".join(parts)

    @property
    def folder(self) -> Path:
        """Default folder of the outputs, within the model's `home` and among MLflow's artifacts.

        Different evaluations have different folders.
        """
        return Path("eval", self.model.short_name, self.name(self.protocols))


def plan_evaluations(
    models: Sequence[TrainedModel],
    *,
    data_dir: Path | None = None,
    split: str = "test",
    protocols: Sequence[str] = (DEFAULT,),
    input_size: Size | None = None,
    dataset: str | None = None,
    num_classes: int | None = None,
    augmentation: Augmentation = NONE,
    mapping: Path | None = None,
) -> list[EvaluationPlan]:
    """Plan evaluations of models on the same photographs, in classes that all of them and the labels have.

        (plan,) = plan_evaluations([load_file("best.pth")], split="val")

    Options that are not given come from the models.

    Args:
        dataset: label set of the labels, by name or TOML file.
        mapping: mapping file to the common classes. Default: a known mapping, where label sets differ.

    Raises:
        SettingsError, DatasetError, CheckpointError: something does not exist or does not fit together.
    """
    names = resolve_protocols(protocols)
    splits = [
        find_split(model, data_dir=data_dir, split=split, dataset=dataset, num_classes=num_classes, same_classes=False)
        for model in models
    ]
    must_compare(models, splits)
    found = splits[0]  # the others are the same; one for all reads its labels for the fingerprint once
    truth, *mappings = _common_classes(models, found, mapping)
    plans = []
    for model, to_common in zip(models, mappings, strict=True):
        size = input_size or model.settings.data.input_size
        check_augmentation(augmentation, truth.target, size)
        plans.append(EvaluationPlan(map_model(model, to_common), found, truth, names, size, augmentation))
    return plans


def _common_classes(models: Sequence[TrainedModel], split: Split, file: Path | None) -> list[ClassMapping]:
    """Mappings to the common classes: of the truth, then of each model."""
    truth = split.label_set
    # Names of a released checkpoint are a guess by their number: the labels know better.
    sets = [one.label_set if one.names_are_known or len(one.label_set) != len(truth) else truth for one in models]
    if file is None:
        if all(one.agrees_with(truth) for one in sets):
            return [identity(truth), *(identity(model.label_set) for model in models)]
        for model in models:
            if not model.names_are_known and len(model.label_set) != len(truth):
                raise CheckpointError(
                    f"{model.source}: has {len(model.label_set)} classes, {split.root} ({truth.name}) has "
                    f"{len(truth)}, and the file does not name them; say what they mean with --mapping"
                )
    *mappings, last = common_mappings([*sets, truth], read_mapping(file) if file else None)
    return [last, *mappings]


def score_checkpoint(
    plan: EvaluationPlan,
    *,
    device: torch.device,
    batch_size: int | None = None,
    resamples: int = RESAMPLES,
    worst: int = WORST,
    groupings: tuple[Grouping, ...] | None = None,
    track: Track = untracked,
) -> Evaluation:
    """Score the plan's model on its photographs.

    Args:
        resamples: number of resamples for intervals; 0 for none.
        worst: number of worst images to draw.
        groupings: groupings of the plan's photographs, those by the size of the face excepted. Default: the built-in
            ones.

    Raises:
        DatasetError: a file, or the dataset's groups.csv, is broken.
        CheckpointError: the model's file does not hold what it should, or takes no other input size.
    """
    samples, label_set = plan.split.samples, plan.label_set
    together = group_numbers(plan.split.root, samples)  # a bad groups.csv is told before the work
    network = augmented_network(plan.model, label_set, plan.augmentation, device, plan.input_size)
    parser = Parser(network, device, plan.model.fit)
    counts = count_samples(
        parser,
        samples,
        len(label_set),
        plan.protocols,
        truth=plan.truth,
        batch_size=batch_size or 4,
        workers=min(default_processes(), 8, len(samples) // 4),
        track=track,
    )
    if groupings is None:
        groupings = photograph_groupings(samples, plan.split.label_set, track=track)
    summaries = {name: Summary(of, label_set, resamples, groupings, together) for name, of in counts.items()}
    return Evaluation(
        checkpoint=plan.model.source,
        epoch=plan.model.epoch,
        dataset=plan.split.root,
        split=plan.split.name,
        input_size=plan.input_size,
        tta=plan.augmentation.name,
        label_set=label_set,
        notes=plan.notes,
        ids=[sample.id for sample in samples],
        summaries=summaries,
        worst=_paint_worst(parser, plan, summaries[plan.protocols[0]], worst),
        truth={} if plan.truth.is_identity else plan.truth.to_toml(),
        fingerprint=plan.split.fingerprint,
        licence=plan.model.licence,
        model_file=file_facts(plan.model.path, plan.model.files),
        speed=measure_speed(parser),
        finished=datetime.now(UTC),
    )


def _paint_worst(parser: Parser, plan: EvaluationPlan, summary: Summary, count: int) -> list[WorstImage]:
    """Draw the worst images. They are parsed again: to keep all pictures until then would need unlimited memory.

    Whatever the protocol, the pictures show the dataset's photograph, because an aligned face's original is missing.
    """
    worst = summary.worst(count)
    samples = [plan.split.samples[image] for image in worst]
    palette = plan.label_set.palette()
    parsed = parse_samples(parser, samples, len(plan.label_set), ["label"], truth=plan.truth)
    found = []
    for image, sample, by_protocol in zip(worst, samples, parsed, strict=True):
        photo = read_image(sample.image)
        truth, prediction = (shrink(overlay(photo, label, palette), _PICTURE_SIDE) for label in by_protocol["label"])
        found.append(WorstImage(sample.id, float(summary.images["mean_f1"][image]), truth, prediction))
    return found
