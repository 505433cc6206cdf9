"""One experiment from settings to a finished run directory, in one process or in several."""

import platform
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

import faceparse
from faceparse.core.errors import CheckpointError, InterruptedRunError, TrainingError
from faceparse.core.images.encoding import encode_png
from faceparse.core.images.overlay import colour_label, contact_sheet, overlay
from faceparse.core.images.pictures import read_image
from faceparse.core.labels.label_set import LabelSet
from faceparse.core.machine.distributed import ALONE, World, is_joined
from faceparse.core.parser.checkpoint_file import Checkpoint
from faceparse.core.parser.checkpoint_format import pack
from faceparse.core.parser.exact_weights import load_exactly
from faceparse.core.parser.inference import Parser
from faceparse.core.parser.trained import ParsingNetwork
from faceparse.core.runs.directory import BEST, LAST, RunDirectory, is_finished
from faceparse.core.runs.git import git_tags
from faceparse.core.runs.ledger import InputDataset, read_ledger
from faceparse.core.runs.store import check_experiment
from faceparse.core.runs.system import SystemMonitor
from faceparse.core.sampling.loader import Loader
from faceparse.core.scoring.counting import evaluate, parse_samples
from faceparse.core.scoring.protocols import DEFAULT
from faceparse.core.scoring.scores import Scores, compute_scores, flat_name, resolve_metric
from faceparse.core.settings import RESNETS, Settings, flatten
from faceparse.core.training.assemble import make_loader, make_trainer
from faceparse.core.training.checkpoint import read_last
from faceparse.core.training.observer import Bystander, Observer
from faceparse.core.training.plan import Plan, adopt_preprocessing, make_plan
from faceparse.core.training.recorder import Record
from faceparse.core.training.signals import StopSignals, exit_code
from faceparse.core.training.state import read_training_state
from faceparse.core.training.trainer import NonFiniteLossError, parameters

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    run_dir: Path
    best: Path
    best_epoch: int
    best_score: float
    run_id: str | None
    tracking_uri: str | None
    metric: str
    """The score on `val` that chose `best`, as metrics.jsonl names it."""


@dataclass
class _Best:
    score: float = -1.0
    epoch: int = 0


Found = Callable[[Path], None]
"""Hears of the run directory as soon as there is one."""


def train(
    settings: Settings,
    observer: Observer,
    world: World = ALONE,
    *,
    found: Found = lambda _: None,
    at: Path | None = None,
) -> RunResult:
    """Train as the settings say, in a new run directory.

    Args:
        at: the directory of a run that did not come to its first checkpoint, to be begun anew.

    Raises:
        FaceparseError: something in settings, dataset, weights, device or disk stands in the way; nothing was trained.
        InterruptedRunError: a signal asked to stop; the checkpoint is written.
        LostProcessError: another process is gone.
    """
    settings = world.first(lambda: adopt_preprocessing(settings, observer))
    plan = make_plan(settings, observer.track, world)
    world.first(lambda: check_experiment(settings.tracking, warn=observer.warning))
    with _directory(lambda: RunDirectory.create(settings, at), world, found) as directory:
        return _Run(plan, directory, observer, resumed=None).execute()


def check(settings: Settings, observer: Observer) -> None:
    """Everything that `train` looks at before it writes anything.

    Raises:
        FaceparseError: what `train` would raise.
    """
    make_plan(adopt_preprocessing(settings, observer), observer.track, ALONE)
    check_experiment(settings.tracking, warn=observer.warning)


def resume(
    run_dir: Path,
    observer: Observer,
    world: World = ALONE,
    *,
    found: Found = lambda _: None,
    place: Settings | None = None,
) -> RunResult:
    """Go on with a run from its newest checkpoint, as if it had never stopped; one that is finished stays as it is.

    Args:
        place: where the run runs from here on; nothing else of these settings counts.

    Raises:
        FaceparseError: there is no such run or checkpoint, or its settings file or dataset is no longer what it was.
        InterruptedRunError, LostProcessError: as `train`.
    """
    with _directory(lambda: RunDirectory.reopen(run_dir), world, found) as directory:
        checkpoint = world.first(lambda: _last_of(run_dir, directory, observer))
        if world.first(lambda: is_finished(run_dir)):
            observer.message(
                f"{run_dir} is finished, all {checkpoint.epoch} epochs; nothing is left to train. A new run can start "
                f"from its weights, with a learning rate that falls anew: --restore-from {run_dir / LAST} --epochs N"
            )
            return world.first(lambda: _found_finished(run_dir, checkpoint))
        settings = checkpoint.settings.moved_to(place) if place is not None else checkpoint.settings
        plan = make_plan(settings, observer.track, world, resumed=checkpoint)
        if plan.label_set != checkpoint.label_set:
            raise CheckpointError(
                f"{checkpoint.path}: its label set is no longer that of {plan.settings.data.root}; put the old one back"
            )
        return _Run(plan, directory, observer, resumed=checkpoint).execute()


def resume_or_train(
    settings: Settings, observer: Observer, world: World = ALONE, *, found: Found = lambda _: None
) -> RunResult:
    """Go on with the newest unfinished run that has these settings, or start one: what a requeued job calls."""
    run_dir = world.first(lambda: RunDirectory.find(adopt_preprocessing(settings, observer)))
    if run_dir is None:
        return train(settings, observer, world, found=found)
    return resume(run_dir, observer, world, found=found, place=settings)


def _last_of(run_dir: Path, directory: RunDirectory | None, observer: Observer) -> Checkpoint:
    checkpoint = read_last(run_dir, warn=observer.warning)
    if directory is not None:
        directory.check_settings(checkpoint.settings)
    return checkpoint


def _found_finished(run_dir: Path, last: Checkpoint) -> RunResult:
    best, ledger = read_training_state(last.training, last.path).best, read_ledger(run_dir)
    metric = _logged_name(resolve_metric(last.settings.train.best_metric, last.label_set), last.label_set)
    run_id, uri = (ledger.run_id, ledger.uri) if ledger else (None, None)
    return RunResult(run_dir, run_dir / BEST, best.epoch, best.score, run_id, uri, metric)


def _logged_name(metric: str, label_set: LabelSet) -> str:
    return f"val/{flat_name(metric, label_set)}"


@contextmanager
def _directory(open_directory: Callable[[], RunDirectory], world: World, found: Found) -> Iterator[RunDirectory | None]:
    """Held by the first process; None in the others, once it is there."""
    held: list[RunDirectory] = []

    def hold() -> Path:
        held.append(open_directory())
        return held[0].path

    try:
        found(world.first(hold))
        yield held[0] if held else None
    finally:
        for directory in held:
            directory.close()


class _StopRequestedError(Exception):
    """Some process received a signal; all of them stop here."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


class _Run:
    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory | None,
        observer: Observer,
        resumed: Checkpoint | None,
    ) -> None:
        self.plan, self.world = plan, plan.world
        self.settings, self.label_set, self.device = plan.settings, plan.label_set, plan.device
        self.observer = observer if self.world.is_first else Bystander()
        self.record = Record(directory, observer) if directory is not None else None
        self.best = _Best()
        self.scores: Mapping[str, float] = {}
        """On `val`, when they were last counted."""
        self.first_epoch = 1
        self.stop = StopSignals(handed_on=is_joined())
        self.model = plan.model
        self.trainer = make_trainer(plan)
        if resumed is not None:
            self.world.together(lambda: self._restore(resumed))
        elif plan.start is not None:
            self._say(f"{self.settings.model.pretrained}: {plan.start}")

    def execute(self) -> RunResult:
        """Train to the end.

        Raises:
            InterruptedRunError: a signal asked to stop; the checkpoint is written.
            TrainingError: the loss is not finite, or the device cannot go on.
            LostProcessError: another process is gone.
            OutputError: trained to the end, but the last checkpoint could not be written.
        """
        self._announce()
        with self.stop, self._tracked(), self._watched() as monitor:
            loader = make_loader(self.plan)
            for epoch in range(self.first_epoch, self.settings.train.epochs + 1):
                try:
                    metrics = self._train_epoch(loader, epoch)
                    scores = self._evaluate() if self._is_due(epoch) else None
                except _StopRequestedError as stop:
                    raise self.world.first(partial(self._interrupted, epoch, stop.signal)) from None
                self._finish_epoch(epoch, metrics | (monitor.take() if monitor else {}), scores)
            self.world.agree_on(self.record.unsaved if self.record else None)
            if self.record is not None:
                self.record.finish()
        return self.world.first(self._result)

    def _result(self) -> RunResult:
        assert self.record is not None
        path, tracker = self.record.directory.path, self.record.tracker
        metric = _logged_name(self.plan.metric, self.label_set)
        return RunResult(path, path / BEST, self.best.epoch, self.best.score, tracker.run_id, tracker.uri, metric)

    def _finish_epoch(self, epoch: int, metrics: dict[str, float], scores: Scores | None) -> None:
        self.trainer.start_epoch()
        score = -1.0
        if scores is not None:
            self.scores = scores.flat()
            metrics |= {f"val/{name}": value for name, value in self.scores.items()}
            score = scores.get(self.plan.metric) or 0.0
        best = score > self.best.score
        if self.record is not None:
            self.record.epoch(epoch, metrics, best)
            if best:
                with self.record.forgiving():
                    tags = {"best_epoch": str(epoch), "best_score": f"{score:.6f}"}
                    self.record.save_best(self._content(epoch), tags)
                    self.best = _Best(score, epoch)
                    self._save_overlays(epoch)
        if scores is not None:
            self._save_last(epoch)
        self.observer.epoch_finished(epoch, metrics, best, _logged_name(self.plan.metric, self.label_set))

    def _restore(self, checkpoint: Checkpoint) -> None:
        training = read_training_state(checkpoint.training, checkpoint.path)
        if training.trainer.epoch.done > (iterations := self.plan.batches.iterations):
            raise CheckpointError(
                f"{checkpoint.path}: damaged training state, {training.trainer.epoch.done} iterations are done of an "
                f"epoch of {iterations}; copy it again"
            )
        load_exactly(self.model, checkpoint.weights, checkpoint.path)
        self.trainer.load_state_dict(training.trainer, checkpoint.path)
        self.best = _Best(training.best.score, training.best.epoch)
        self.scores = checkpoint.scores
        finished = checkpoint.epoch or 0
        self.first_epoch = finished + 1
        if self.record is not None:
            self.record.directory.forget_after(finished)
        accumulate = self.plan.batches.accumulate
        if accumulate != self.settings.train.accumulate:
            self._say(f"{accumulate} batches make an update of {self.plan.update_size} photographs, as before")
        within = f" and {self.trainer.done} iterations of epoch {finished + 1}" if self.trainer.done else ""
        self._say(f"resumed after epoch {finished}{within}")

    def _train_epoch(self, loader: Loader[Any, Any], epoch: int) -> dict[str, float]:
        every, batches = self.settings.train.checkpoint_every, self.plan.batches
        batches.epoch, batches.start = epoch, self.trainer.done
        self.observer.epoch_started(epoch, self.settings.train.epochs, batches.iterations)

        def after_step() -> None:
            if every and self.trainer.iteration % every == 0:
                self._save_last(epoch - 1)

        left = (batches.iterations - batches.start) * batches.accumulate
        try:
            for progress in self.trainer.train_epoch(self._in_step(loader, left), after_step):
                self.observer.progress(progress)
        except NonFiniteLossError as error:
            indices = [index for part in self.world.gather(error.indices) for index in part]
            files = ", ".join(str(self.plan.train[index].image) for index in indices)
            named = TrainingError(
                f"the loss is not finite at iteration {error.iteration} (epoch {epoch}), with {files}; lower optim.lr, "
                f"or look at these files; {LAST} is from before it"
            )
            self.world.agree_on(named)
            raise named from None
        losses = {f"train/{name}": value for name, value in progress.losses.items()}
        return losses | {"train/lr": progress.lr, "train/images_per_second": progress.images_per_second}

    def _interrupted(self, epoch: int, number: signal.Signals) -> InterruptedRunError:
        assert self.record is not None
        self._save_last(epoch - 1)
        code = exit_code(number)
        where = (
            f"{number.name} in epoch {epoch}, after {self.trainer.done} of {self.plan.batches.iterations} iterations"
        )
        if self.record.unsaved is not None:
            return InterruptedRunError(f"stopped by {where}, but not saved: {self.record.unsaved}", code)
        with self.record.forgiving():
            self.record.directory.log(f"stopped by {where}")
        command = f"faceparse train --resume {self.record.directory.path}"
        return InterruptedRunError(f"stopped by {where}; saved, go on with: {command}", code)

    def _is_due(self, epoch: int) -> bool:
        return epoch % self.settings.train.evaluate_every == 0 or epoch == self.settings.train.epochs

    def _evaluate(self) -> Scores:
        """Each process counts its part of `val`; the sum does not depend on how many there are."""
        val, world = self.plan.val, self.world
        rounds = -(-len(val) // world.size)

        def track(items: Iterable[T], total: int | None, what: str, /) -> Iterable[T]:
            return self.observer.track(self._in_step(items, rounds), total, what)

        confusions = evaluate(
            self._parser(),
            val[world.rank :: world.size],
            len(self.label_set),
            [DEFAULT],
            batch_size=self.settings.train.batch_size,
            workers=self.settings.data.workers,
            track=track,
        )
        counts = world.sum(torch.from_numpy(confusions[DEFAULT]))
        return compute_scores(counts.numpy(), self.label_set)

    def _in_step(self, items: Iterable[T], rounds: int) -> Iterator[T]:
        """Each item once no process wants to stop."""
        for item, wish in self.world.in_step(items, rounds, lambda: self.stop.received or 0):
            if wish:
                raise _StopRequestedError(wish)
            if item is not None:
                yield item

    def _parser(self) -> Parser:
        network = ParsingNetwork(self.trainer.best_model.eval(), self.settings.data)
        return Parser(network.to(self.device), self.device)

    def _content(self, epoch: int) -> dict[str, Any]:
        assert self.record is not None
        return pack(
            self.trainer.best_model,
            settings=self.settings,
            label_set=self.label_set,
            epoch=epoch,
            scores=self.scores,
            run_id=self.record.tracker.run_id,
            tracking_uri=self.record.tracker.uri,
            geometry=self.plan.geometry,
        )

    def _save_last(self, epoch: int) -> None:
        """`epoch` is the last one that is finished."""
        self.trainer.check_finite()
        if self.record is not None:
            training = {
                "trainer": self.trainer.state_dict(),
                "best": vars(self.best),
                "update_size": self.plan.update_size,
            }
            self.record.save_last(self._content(epoch) | {"training": training})

    def _save_overlays(self, epoch: int) -> None:
        """Photograph, truth and prediction of the first few `val` samples."""
        assert self.record is not None
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
        self.record.save_overlays(epoch, encode_png(contact_sheet(rows)))

    def _tracked(self) -> AbstractContextManager[None]:
        if self.record is None:
            return nullcontext()
        return self.record.tracked(
            self.settings.tracking, params=flatten(self.settings), tags=self._tags(), datasets=self._datasets()
        )

    def _watched(self) -> AbstractContextManager[SystemMonitor | None]:
        tracking = self.settings.tracking
        watched = self.record is not None and tracking.enabled and tracking.system_metrics
        return SystemMonitor() if watched else nullcontext()

    def _datasets(self) -> list[InputDataset]:
        """What MLflow is told of the splits; `val` is whichever chooses best.pth."""
        root, val_split, prints = self.settings.data.root.resolve(), self.settings.data.val_split, self.plan.fingerprint
        roles = (("train", "train", self.plan.train), ("val", val_split, self.plan.val))
        if not prints:  # nobody will see it
            return []
        return [
            InputDataset(root.name, prints[split], str(root), role, len(samples), self.label_set.name)
            for role, split, samples in roles
        ]

    def _tags(self) -> dict[str, str]:
        return {
            "mlflow.source.name": "faceparse train",
            "mlflow.source.type": "LOCAL",
            "dataset": self.settings.data.root.resolve().name,
            "label_set": self.label_set.name,
            "protocol": DEFAULT,
            "best_metric": _logged_name(self.plan.metric, self.label_set),
            "run_dir": str(self.record.directory.path.resolve()) if self.record else "",
            "faceparse": faceparse.__version__,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else platform.machine() or "cpu",
            "processes": str(self.world.size),
            "speed": str(self.plan.speed),
            **({"pretrained": str(self.plan.start)} if self.plan.start else {}),
            **{f"fingerprint.{split}": value for split, value in self.plan.fingerprint.items()},
            **git_tags(Path.cwd()),
        }

    def _announce(self) -> None:
        model, batches = self.settings.model, self.plan.batches
        norm = [type(module).__name__ for module in self.model.modules() if hasattr(module, "running_mean")][-1]
        parts = [f"{model.stem} stem"] * (model.backbone in RESNETS) + ["light heads"] * model.light + [norm]
        size = f"{parameters(self.model) / 1e6:.1f} M parameters"
        classes = f"{len(self.label_set)} classes of {self.label_set.name}"
        if self.record is not None:
            self._say(f"run directory {self.record.directory.path}")
        processes = f" in {self.world.size} processes" if self.world.size > 1 else ""
        self._say(
            f"{model.backbone} ({', '.join(parts)}), {size}, {classes}, on {self.device.type}{processes} "
            f"({self.plan.speed})"
        )
        self._say(
            f"{len(self.plan.train)} training and {len(self.plan.val)} {self.settings.data.val_split} photographs, "
            f"{batches.iterations} iterations an epoch, {self.plan.update_size} photographs each"
        )
        if self.plan.cached:
            self._say(self.plan.cached)

    def _say(self, text: str) -> None:
        if self.record is not None:
            self.record.say(text)
