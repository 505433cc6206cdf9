"""Find out everything about a run before it has a directory."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceparse.core.datasets.edges import make_missing_edges
from faceparse.core.datasets.layout import Sample, count_shared, fingerprint_of, listing_hash, resolve_label_set
from faceparse.core.datasets.parts import Parts, divide
from faceparse.core.datasets.training_geometry import measure_geometry
from faceparse.core.errors import CheckpointError, SettingsError, first_line
from faceparse.core.faces.geometry import FaceGeometry
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.labels.mapping import read_mapping
from faceparse.core.machine.device import resolve_device
from faceparse.core.machine.distributed import World
from faceparse.core.machine.parallel import Track, default_processes
from faceparse.core.model.backbones import EXAMPLES, TimmFeatures, timm_preprocessing
from faceparse.core.model.build import build_model
from faceparse.core.model.imagenet import IMAGENET, imagenet_file
from faceparse.core.model.parsing import ParsingModel
from faceparse.core.names.find import find_model
from faceparse.core.parser.checkpoint_file import Checkpoint, read_checkpoint
from faceparse.core.parser.initialise import LoadReport, initialise, initialise_from_timm
from faceparse.core.sampling.batch_order import EpochSampler
from faceparse.core.sampling.cache import SampleCache, open_cache
from faceparse.core.sampling.frequency import class_weights, count_classes, sampling_shares
from faceparse.core.sampling.loader import pins, start_loader_server
from faceparse.core.scoring.scores import resolve_metric
from faceparse.core.settings import INPUT, TIMM, ModelSettings, Settings
from faceparse.core.training.observer import Observer
from faceparse.core.training.speed import Speed, resolve_speed


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that a training run needs: settings, data, device and network."""

    settings: Settings
    world: World
    label_set: LabelSet
    metric: str
    """Score on `val` that chooses best.pth, as `Scores.get` knows it."""
    train: list[Sample]
    val: list[Sample]
    device: torch.device
    speed: Speed
    batches: EpochSampler
    model: ParsingModel
    class_weights: Tensor | None = None
    """One weight for each class, for the loss."""
    geometry: FaceGeometry | None = None
    """Where faces lie in the training crops; None where the labels do not tell."""
    start: LoadReport | None = None
    """Report on the weights that came from `model.pretrained`; None where none did."""
    fingerprint: dict[str, str] = field(default_factory=dict)
    """Split -> fingerprint of its data."""
    listing: dict[str, str] = field(default_factory=dict)
    """Hash of the photographs of train and val, to notice that they have changed when the run is resumed."""
    cache: SampleCache | None = None
    cached: str = ""
    """Line about the cache, for the user."""

    @property
    def seen(self) -> int:
        """Number of val's photographs that are also trained on."""
        return count_shared(self.val, self.train)

    @property
    def update_size(self) -> int:
        """Number of photographs whose gradients make one update."""
        return self.batches.batch_size * self.batches.size * self.batches.accumulate


def plan_training(settings: Settings, track: Track, world: World, resumed: Checkpoint | None = None) -> TrainingPlan:
    """Check settings, data, weights and device, and build the network. All processes must call this together.

    Raises:
        FaceparseError: something in settings, dataset, weights or device stands in the way; raised in all processes.
    """
    start_loader_server(settings.data.workers)
    counts = world.on_first(lambda: _count_classes(settings, track))
    plan = world.on_all(lambda: _look(settings, world, resumed, counts))
    world.on_first(lambda: _refuse_absent(plan, track))
    start = None
    if resumed is None and settings.model.pretrained != "none":
        # The other processes get their first weights from the first one.
        start = world.on_first(lambda: _initialise(plan, track))
    world.once_per_machine(
        lambda: make_missing_edges(settings.data.root, plan.train, processes=default_processes(), track=track)
    )
    # The fingerprint reads every label once: only make it where MLflow will show it.
    parts = {"train": plan.train, settings.data.val_split: plan.val} if settings.tracking.enabled else {}
    prints = world.on_first(lambda: {split: fingerprint_of(samples) for split, samples in parts.items()})
    listing = world.on_first(lambda: {"train": listing_hash(plan.train), "val": listing_hash(plan.val)})
    cache, cached = world.on_all(lambda: open_cache(plan.train, settings.data.cache, processes=world.local_size))
    geometry = world.on_first(lambda: _measure(plan, track))
    return replace(
        plan,
        start=start,
        fingerprint=prints,
        geometry=geometry,
        listing=listing,
        cache=cache,
        cached=cached,
    )


def _measure(plan: TrainingPlan, track: Track) -> FaceGeometry | None:
    size = plan.settings.data.input_size
    return measure_geometry(plan.train, plan.label_set, size, processes=default_processes(), track=track)


def _count_classes(settings: Settings, track: Track) -> np.ndarray | None:
    """Pixels by training sample and class; None unless a setting needs them, because this reads every label."""
    if not settings.data.rare_first and settings.loss.class_weights == "none":
        return None
    samples = divide(settings.data, settings.train.seed).train
    classes = len(resolve_label_set(settings.data))
    return count_classes(samples, classes, processes=default_processes(), track=track)


def _refuse_absent(plan: TrainingPlan, track: Track) -> None:
    """Refuse a score that would make every epoch as good as the first.

    Raises:
        SettingsError: the score that chooses best.pth is of a class that no label of `val` has.
    """
    name = plan.metric.partition("/")[2]
    if not name:
        return
    counts = count_classes(plan.val, len(plan.label_set), processes=default_processes(), track=track)
    if not counts[:, list(plan.label_set.resolve((name,)))].any():
        raise SettingsError(
            f"train.best_metric = {plan.metric!r}: no label of split {plan.settings.data.val_split!r} has it; choose "
            "another score, such as mean_f1"
        )


def _look(settings: Settings, world: World, resumed: Checkpoint | None, counts: np.ndarray | None) -> TrainingPlan:
    """The part of the plan that each process finds out on its own."""
    device = resolve_device(settings.train.device, world.local_rank)
    speed = resolve_speed(settings, device, world.size)
    pins(settings.data.pin_memory, device)  # refuse a bad value here, before there is a run
    label_set = resolve_label_set(settings.data)
    metric = resolve_metric(settings.train.best_metric, label_set)
    parts = divide(settings.data, settings.train.seed)
    rare_first = settings.data.rare_first
    shares = sampling_shares(counts, rare_first) if counts is not None and rare_first else None
    batches = _batches(settings, parts, world, resumed, shares)
    kind, limits = settings.loss.class_weights, settings.loss.class_weight_range
    weights = None
    if counts is not None and kind != "none":
        weights = torch.from_numpy(class_weights(counts, kind, limits))
    torch.manual_seed(settings.train.seed)
    network = settings.model.model_copy(update={"norm": speed.norm})
    model = build_model(network, len(label_set), device, world.data)
    _try_size(model, settings)
    return TrainingPlan(
        settings, world, label_set, metric, parts.train, parts.val, device, speed, batches, model, weights
    )


def _try_size(model: ParsingModel, settings: Settings) -> None:
    """Try `data.input_size` on a backbone of timm's: some take one size only, or multiples of some number.

    Raises:
        SettingsError: the backbone does not take the size, or its maps do not cover the picture.
    """
    backbone = model.backbone
    if not isinstance(backbone, TimmFeatures):
        return
    height, width = settings.data.input_size
    try:
        with torch.inference_mode():
            maps = model.eval().backbone(torch.zeros(1, 3, height, width, device=next(model.parameters()).device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise SettingsError(
            f"data.input_size = {height},{width}: {settings.model.backbone} does not take it "
            f"({first_line(error, 80)}); try 224,224 or 256,256"
        ) from None
    model.train()
    for stride, (h, w) in zip(backbone.strides, (x.shape[2:] for x in maps), strict=True):
        # Convolutions without padding lose the border. Heads that enlarge such a map would shift all of its content.
        if not (height // stride <= h <= -(-height // stride) and width // stride <= w <= -(-width // stride)):
            raise SettingsError(
                f"model.backbone = {settings.model.backbone!r}: its map at 1/{stride} of {height} x {width} is "
                f"{h} x {w}, so it does not cover the picture; {EXAMPLES}"
            )


def _initialise(plan: TrainingPlan, track: Track) -> LoadReport:
    settings = plan.settings.model
    mapping = read_mapping(settings.mapping) if settings.mapping is not None else None
    if settings.pretrained == IMAGENET and mapping is not None:
        raise SettingsError("model.mapping: ImageNet's weights have no classes to map; drop one of the two")
    if settings.pretrained == IMAGENET and settings.backbone.startswith(TIMM):
        return initialise_from_timm(plan.model, settings.backbone)
    found = settings.pretrained == IMAGENET
    path = imagenet_file(settings.backbone, track) if found else find_model(settings.pretrained).path
    return initialise(plan.model, path, settings.backbone, plan.label_set, mapping)


def _batches(
    settings: Settings, parts: Parts, world: World, resumed: Checkpoint | None, shares: np.ndarray | None
) -> EpochSampler:
    """Batches of an epoch. A resumed run keeps its photographs per update, with any number of processes."""
    train, accumulate = settings.train, settings.train.accumulate
    large = train.batch_size * world.size
    before = resumed.training["update_size"] if resumed is not None and resumed.training else large * accumulate
    if before % large:
        raise SettingsError(
            f"this run makes an update from {before} photographs, and {world.size} processes of batch_size "
            f"{train.batch_size} cannot do that; go on with another number of processes"
        )
    batches = EpochSampler(
        len(parts.train),
        batch_size=train.batch_size,
        seed=train.seed,
        rank=world.rank,
        size=world.size,
        accumulate=before // large,
        shares=shares,
        draws=parts.draws,
    )
    if batches.iterations == 0:
        times = f" x {world.size} processes" * (world.size > 1) + f" x train.accumulate = {accumulate}" * (
            accumulate > 1
        )
        raise SettingsError(
            f"train.batch_size = {train.batch_size}{times}, but there are {parts.draws} training samples; lower it"
        )
    return batches


NETWORK = ("backbone", "stem", "heads", "graph")
"""Settings of `model` that say which network it is."""


def adopt_start(settings: Settings, observer: Observer) -> Settings:
    """Take the network and its input from the weights that training starts from, where the user set none.

    Where the user set any part of the network, it is theirs; the input's size is taken together with the network.
    """
    model, data = _start(settings.model)
    if settings.model.model_fields_set & set(NETWORK):
        model = {}
        data.pop("input_size", None)
    changed = {
        section: {key: value for key, value in taken.items() if key not in given.model_fields_set}
        for section, taken, given in (("model", model, settings.model), ("data", data, settings.data))
    }
    changed = {
        section: {key: value for key, value in values.items() if value != getattr(getattr(settings, section), key)}
        for section, values in changed.items()
    }
    if told := {f"{section}.{key}": value for section, values in changed.items() for key, value in values.items()}:
        shown = ", ".join(f"{key} = {value}" for key, value in told.items())
        observer.message(f"{settings.model.pretrained} was trained with {shown}: training goes on so")
    sections = {name: getattr(settings, name).model_copy(update=values) for name, values in changed.items()}
    return settings.model_copy(update=sections)


def _start(model: ModelSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Network and input of the weights that training starts from; empty where the defaults fit or nothing tells."""
    if model.pretrained == IMAGENET and model.backbone.startswith(TIMM):
        return {}, timm_preprocessing(model.backbone)
    if model.pretrained in ("none", IMAGENET):
        return {}, {}  # torchvision's networks use the default preprocessing
    try:
        start = read_checkpoint(find_model(model.pretrained).path).settings
    except CheckpointError:
        return {}, {}  # a backbone, or a bad file: `initialise` will explain it
    network = {key: getattr(start.model, key) for key in NETWORK}
    return network, {key: getattr(start.data, key) for key in INPUT}
