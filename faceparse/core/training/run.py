"""One experiment from settings to a finished run directory."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch.optim import SGD

import faceparse
from faceparse.core.data.dataset import Normalise, TrainingSet, collate
from faceparse.core.data.loader import Loader
from faceparse.core.data.sampler import EpochSampler
from faceparse.core.datasets.edges import make_missing_edges
from faceparse.core.datasets.layout import DatasetFolder, Sample, fingerprint, resolve_label_set
from faceparse.core.device import resolve_device
from faceparse.core.errors import CheckpointError, InterruptedRunError, OutputError, SettingsError, TrainingError
from faceparse.core.evaluation.evaluate import evaluate, parse_samples
from faceparse.core.evaluation.pictures import colour_label, contact_sheet, overlay
from faceparse.core.evaluation.protocols import DEFAULT
from faceparse.core.evaluation.scores import Scores, compute_scores, resolve_metric
from faceparse.core.files import encode_png, read_image, write_atomic
from faceparse.core.inference import Parser
from faceparse.core.labels import LabelSet
from faceparse.core.model.build import build_model
from faceparse.core.model.eagrnet import EAGRNet
from faceparse.core.model.imagenet import IMAGENET, imagenet_file
from faceparse.core.model.weights import Checkpoint, LoadReport, initialise, load_exactly, read_checkpoint
from faceparse.core.parallel import Track, default_processes
from faceparse.core.settings import Settings, flatten
from faceparse.core.tracking.git import git_tags
from faceparse.core.tracking.store import check_experiment
from faceparse.core.tracking.tracker import Tracker
from faceparse.core.training.checkpoint import BEST, LAST, pack, read_last, save, save_last
from faceparse.core.training.loss import EAGRNetLoss
from faceparse.core.training.run_directory import FINISHED, LOG_FILE, METRICS_FILE, SETTINGS_FILE, RunDirectory
from faceparse.core.training.schedule import poly_schedule
from faceparse.core.training.signals import StopSignals
from faceparse.core.training.trainer import NonFiniteLossError, Progress, Trainer, parameters

T = TypeVar("T")


class Observer(Protocol):
    """Who watches a run."""

    track: Track

    def message(self, text: str) -> None:
        """Something worth a line."""

    def warning(self, text: str) -> None:
        """Something that went wrong without ending the run."""

    def epoch_started(self, epoch: int, epochs: int, iterations: int) -> None: ...

    def progress(self, progress: Progress) -> None: ...

    def epoch_finished(self, epoch: int, metrics: dict[str, float], best: bool) -> None: ...


@dataclass(frozen=True)
class RunResult:
    run_dir: Path
    best: Path
    best_epoch: int
    best_score: float
    run_id: str | None
    tracking_uri: str | None


@dataclass
class _Best:
    score: float = -1.0
    epoch: int = 0


def train(settings: Settings, observer: Observer) -> RunResult:
    """Train as the settings say, in a new run directory.

    Raises:
        FaceparseError: something in settings, dataset, weights, device or disk stands in the way; nothing was trained.
    """
    settings = adopt_preprocessing(settings, observer)
    plan = _plan(settings, observer.track)
    check_experiment(settings.tracking)
    directory = RunDirectory.create(settings)
    try:
        return _Run(plan, directory, observer, resumed=None).execute()
    finally:
        directory.close()


def check(settings: Settings, observer: Observer) -> None:
    """Everything that `train` looks at before it writes anything.

    Raises:
        FaceparseError: what `train` would raise.
    """
    _plan(adopt_preprocessing(settings, observer), observer.track)
    check_experiment(settings.tracking)


def resume(run_dir: Path, observer: Observer) -> RunResult:
    """Go on with a run from its newest checkpoint, as if it had never stopped.

    Raises:
        FaceparseError: there is no such run or checkpoint, or its dataset is no longer what it was.
    """
    directory = RunDirectory.reopen(run_dir)
    try:
        checkpoint = read_last(directory.path, warn=observer.warning)
        plan = _plan(checkpoint.settings, observer.track, resuming=True)
        if plan.label_set != checkpoint.label_set:
            raise CheckpointError(
                f"{checkpoint.path}: its label set is no longer that of {plan.settings.data.root}; put the old one back"
            )
        return _Run(plan, directory, observer, resumed=checkpoint).execute()
    finally:
        directory.close()


def resume_or_train(settings: Settings, observer: Observer) -> RunResult:
    """Go on with the newest unfinished run that has these settings, or start one: what a requeued job calls."""
    run_dir = RunDirectory.find(adopt_preprocessing(settings, observer))
    return resume(run_dir, observer) if run_dir else train(settings, observer)


def adopt_preprocessing(settings: Settings, observer: Observer) -> Settings:
    """Take channel order, mean and std from the checkpoint that training starts from, where the user named none."""
    if settings.model.pretrained in ("none", IMAGENET):
        return settings  # the default preprocessing is that of ImageNet's networks
    try:
        start = read_checkpoint(Path(settings.model.pretrained)).settings.data
    except CheckpointError:
        return settings  # a backbone, or a file that `initialise` will have more to say about
    chosen = settings.data.model_fields_set
    taken = {key: getattr(start, key) for key in ("channel_order", "mean", "std") if key not in chosen}
    changed = {key: value for key, value in taken.items() if value != getattr(settings.data, key)}
    if changed:
        observer.message(f"{settings.model.pretrained} was trained with {changed}: training goes on so")
    return settings.model_copy(update={"data": settings.data.model_copy(update=changed)})


@dataclass(frozen=True)
class _Plan:
    """Everything that is checked before a run directory exists."""

    settings: Settings
    label_set: LabelSet
    metric: str
    """Score on `val` that chooses best.pth, as `Scores.get` knows it."""
    train: list[Sample]
    val: list[Sample]
    device: torch.device
    batches: EpochSampler
    model: EAGRNet
    start: LoadReport | None
    """What `model.pretrained` gave to the network."""
    fingerprint: dict[str, str]


def _plan(settings: Settings, track: Track, *, resuming: bool = False) -> _Plan:
    device = resolve_device(settings.train.device)
    label_set = resolve_label_set(settings.data)
    metric = resolve_metric(settings.train.best_metric, label_set)
    folder = DatasetFolder(settings.data.root)
    train = folder.samples("train")
    batches = EpochSampler(len(train), batch_size=settings.train.batch_size, seed=settings.train.seed)
    if len(batches) == 0:
        raise SettingsError(
            f"train.batch_size = {settings.train.batch_size}, but there are {len(train)} training samples; lower it"
        )
    val = folder.samples(settings.data.val_split)
    torch.manual_seed(settings.train.seed)
    model = build_model(settings.model, len(label_set), device)
    start = None
    if not resuming and (pretrained := settings.model.pretrained) != "none":
        file = imagenet_file(settings.model.backbone, track) if pretrained == IMAGENET else Path(pretrained)
        start = initialise(model, file)
    make_missing_edges(settings.data.root, train, processes=default_processes(), track=track)
    # It reads every label once: only where somebody will see it.
    prints = fingerprint(settings.data.root, ("train", settings.data.val_split)) if settings.tracking.enabled else {}
    return _Plan(settings, label_set, metric, train, val, device, batches, model, start, prints)


class _StopRequestedError(Exception):
    """A signal was received."""


class _Run:
    def __init__(
        self,
        plan: _Plan,
        directory: RunDirectory,
        observer: Observer,
        resumed: Checkpoint | None,
    ) -> None:
        self.plan, self.directory, self.observer = plan, directory, observer
        self.settings, self.label_set, self.device = plan.settings, plan.label_set, plan.device
        self.best = _Best()
        self.scores: Mapping[str, float] = {}
        """On `val`, when they were last counted."""
        self.first_epoch = 1
        self.stop = StopSignals()
        self.unsaved: OutputError | None = None
        """Why the newest checkpoint could not be written."""
        self.model = plan.model
        self.trainer = self._trainer()
        if resumed is not None:
            self._restore(resumed)
        elif plan.start is not None:
            self._say(f"{self.settings.model.pretrained}: {plan.start}")

    def execute(self) -> RunResult:
        """Train to the end.

        Raises:
            InterruptedRunError: a signal asked to stop; the checkpoint is written.
            TrainingError: the loss is not finite, or the device cannot go on.
            OutputError: trained to the end, but the last checkpoint could not be written.
        """
        self._announce()
        with self.stop, self._tracked() as tracker:
            loader = self._loader()
            for epoch in range(self.first_epoch, self.settings.train.epochs + 1):
                try:
                    metrics = self._train_epoch(loader, epoch, tracker)
                    scores = self._evaluate() if self._is_due(epoch) else None
                except _StopRequestedError:
                    raise self._interrupted(epoch, tracker) from None
                self._finish_epoch(epoch, metrics, scores, tracker)
            tracker.tag({"best_epoch": str(self.best.epoch), "best_score": f"{self.best.score:.6f}"})
            if self.unsaved is not None:
                raise self.unsaved
            self.directory.log(FINISHED)
            tracker.upload(self.directory.path / LAST, "checkpoints")
            for name in (SETTINGS_FILE, METRICS_FILE, LOG_FILE):
                tracker.upload(self.directory.path / name)
        path = self.directory.path
        return RunResult(path, path / BEST, self.best.epoch, self.best.score, tracker.run_id, tracker.uri)

    def _finish_epoch(self, epoch: int, metrics: dict[str, float], scores: Scores | None, tracker: Tracker) -> None:
        self.trainer.start_epoch()
        score = -1.0
        if scores is not None:
            self.scores = scores.flat()
            metrics |= {f"val/{name}": value for name, value in self.scores.items()}
            score = scores.get(self.plan.metric) or 0.0
        best = score > self.best.score
        with self._forgiving_disk():
            self.directory.record(epoch, metrics)
            self.directory.log(_summary(epoch, metrics, best))
        tracker.deliver()
        if best:
            with self._forgiving_disk():
                save(self.directory.path / BEST, self._content(epoch, tracker))
                self.best = _Best(score, epoch)
                tracker.upload(self.directory.path / BEST, "checkpoints")
                self._save_overlays(epoch, tracker)
        if scores is not None:
            self._save_last(epoch, tracker)
        self.observer.epoch_finished(epoch, metrics, best)

    def _trainer(self) -> Trainer:
        optim, loss = self.settings.optim, self.settings.loss
        optimizer = SGD(
            self.model.parameters(),
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            fused=True,
        )
        return Trainer(
            model=self.model,
            loss=EAGRNetLoss(
                parsing=loss.parsing, edge=loss.edge, boundary_attention=loss.boundary_attention, scale=loss.scale
            ),
            optimizer=optimizer,
            schedule=poly_schedule(optimizer, optim, self.settings.train.epochs * len(self.plan.batches)),
            normalise=Normalise(self.settings.data).to(self.device),
            device=self.device,
        )

    def _loader(self) -> Loader[Any, Any]:
        data = self.settings.data
        dataset = TrainingSet(self.plan.train, self.label_set, data, seed=self.settings.train.seed)
        return Loader(
            dataset, collate, device=self.device, workers=data.workers, batches=self.plan.batches, persistent=True
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.training is not None
        load_exactly(self.model, checkpoint.weights, checkpoint.path)
        self.trainer.load_state_dict(checkpoint.training["trainer"])
        self.best = _Best(**checkpoint.training["best"])
        self.scores = checkpoint.scores
        finished = checkpoint.epoch or 0
        self.first_epoch = finished + 1
        self.directory.forget_after(finished)
        within = f" and {self.trainer.done} iterations of epoch {finished + 1}" if self.trainer.done else ""
        self._say(f"resumed after epoch {finished}{within}")

    def _train_epoch(self, loader: Loader[Any, Any], epoch: int, tracker: Tracker) -> dict[str, float]:
        every = self.settings.train.checkpoint_every
        self.plan.batches.epoch, self.plan.batches.start = epoch, self.trainer.done
        self.observer.epoch_started(epoch, self.settings.train.epochs, len(self.plan.batches))

        def after_step() -> None:
            if self.stop.received:
                raise _StopRequestedError
            if every and self.trainer.iteration % every == 0:
                self._save_last(epoch - 1, tracker)

        try:
            for progress in self.trainer.train_epoch(loader, after_step):
                self.observer.progress(progress)
        except NonFiniteLossError as error:
            files = ", ".join(str(self.plan.train[index].image) for index in error.indices)
            raise TrainingError(
                f"the loss is not finite at iteration {error.iteration} (epoch {epoch}), with {files}; lower optim.lr, "
                f"or look at these files; {LAST} is from before it"
            ) from None
        losses = {f"train/{name}": value for name, value in progress.losses.items()}
        return losses | {"train/lr": progress.lr, "train/images_per_second": progress.images_per_second}

    def _interrupted(self, epoch: int, tracker: Tracker) -> InterruptedRunError:
        assert self.stop.received is not None
        self._save_last(epoch - 1, tracker)
        done = f"{self.trainer.done} of {len(self.plan.batches)} iterations"
        where = f"{self.stop.received.name} in epoch {epoch}, after {done}"
        if self.unsaved is not None:
            return InterruptedRunError(f"stopped by {where}, but not saved: {self.unsaved}", self.stop.exit_code)
        with self._forgiving_disk():
            self.directory.log(f"stopped by {where}")
        resume = f"faceparse train --resume {self.directory.path}"
        return InterruptedRunError(f"stopped by {where}; saved, go on with: {resume}", self.stop.exit_code)

    def _is_due(self, epoch: int) -> bool:
        return epoch % self.settings.train.evaluate_every == 0 or epoch == self.settings.train.epochs

    def _evaluate(self) -> Scores:
        confusions = evaluate(
            self._parser(),
            self.plan.val,
            len(self.label_set),
            [DEFAULT],
            batch_size=self.settings.train.batch_size,
            workers=self.settings.data.workers,
            track=self._track,
        )
        return compute_scores(confusions[DEFAULT], self.label_set)

    def _track(self, items: Iterable[T], total: int, what: str, /) -> Iterator[T]:
        for item in self.observer.track(items, total, what):
            if self.stop.received:
                raise _StopRequestedError
            yield item

    def _parser(self) -> Parser:
        self.model.eval()
        return Parser(self.model, self.settings.data, self.device)

    def _content(self, epoch: int, tracker: Tracker) -> dict[str, Any]:
        return pack(
            self.model,
            settings=self.settings,
            label_set=self.label_set,
            epoch=epoch,
            scores=self.scores,
            run_id=tracker.run_id,
            tracking_uri=tracker.uri,
        )

    def _save_last(self, epoch: int, tracker: Tracker) -> None:
        """`epoch` is the last one that is finished. A disk that is full now need not be later: training goes on."""
        self.trainer.check_finite()
        training = {"trainer": self.trainer.state_dict(), "best": vars(self.best)}
        self.unsaved = None
        try:
            save_last(self.directory.path, self._content(epoch, tracker) | {"training": training})
        except OutputError as error:
            self.unsaved = error
            self.observer.warning(f"{error}; the checkpoint before is still there, training goes on")

    @contextmanager
    def _forgiving_disk(self) -> Iterator[None]:
        try:
            yield
        except OutputError as error:
            self.observer.warning(f"{error}; training goes on")

    def _save_overlays(self, epoch: int, tracker: Tracker) -> None:
        """Photograph, truth and prediction of the first few `val` samples."""
        samples = self.plan.val[: self.settings.tracking.overlays]
        if not samples:
            return
        palette = self.label_set.palette()
        rows = []
        parsed = parse_samples(self._parser(), samples, len(self.label_set), ["label"])
        for sample, by_protocol in zip(samples, parsed, strict=True):
            image, (truth, prediction) = read_image(sample.image), by_protocol["label"]
            rows.append(
                [
                    image,
                    overlay(image, truth, palette),
                    overlay(image, prediction, palette),
                    colour_label(prediction, palette),
                ]
            )
        path = self.directory.path / "overlays" / f"epoch_{epoch:04d}.png"
        write_atomic(path, encode_png(contact_sheet(rows)))
        tracker.upload(path, "overlays")

    def _tracked(self) -> Tracker:
        return Tracker.start(
            self.settings.tracking,
            self.directory.path,
            self.directory.metrics,
            params=flatten(self.settings),
            tags=self._tags(),
            warn=self.observer.warning,
            say=self.observer.message,
        )

    def _tags(self) -> dict[str, str]:
        return {
            "mlflow.source.name": "faceparse train",
            "mlflow.source.type": "LOCAL",
            "dataset": self.settings.data.root.name,
            "label_set": self.label_set.name,
            "run_dir": str(self.directory.path.resolve()),
            "faceparse": faceparse.__version__,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else platform.machine() or "cpu",
            **({"pretrained": str(self.plan.start)} if self.plan.start else {}),
            **{f"fingerprint.{split}": value for split, value in self.plan.fingerprint.items()},
            **git_tags(Path.cwd()),
        }

    def _announce(self) -> None:
        model = self.settings.model
        norm = type(self.model.pyramid.fuse.norm).__name__
        size = f"{parameters(self.model) / 1e6:.1f} M parameters"
        classes = f"{len(self.label_set)} classes of {self.label_set.name}"
        self._say(f"run directory {self.directory.path}")
        self._say(f"{model.backbone} ({model.stem} stem, {norm}), {size}, {classes}, on {self.device}")
        self._say(
            f"{len(self.plan.train)} training and {len(self.plan.val)} {self.settings.data.val_split} photographs, "
            f"{len(self.plan.batches)} iterations an epoch"
        )

    def _say(self, text: str) -> None:
        self.directory.log(text)
        self.observer.message(text)


def _summary(epoch: int, metrics: dict[str, float], best: bool) -> str:
    shown = {name: value for name, value in metrics.items() if "/f1/" not in name and "/iou/" not in name}
    return (
        f"epoch {epoch}: {', '.join(f'{name} {value:.4g}' for name, value in shown.items())}{' (best)' if best else ''}"
    )
